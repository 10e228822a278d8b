package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// newAddressesCommand gives addresses to Services of type LoadBalancer, and nothing else: kube-proxy does the rest.
//
// Without a pool it behaves as K3s's ServiceLB: a Service gets the addresses of all nodes if none of its ports is taken there
// by another Service, who came first; one that comes too late waits without an address until the holder is gone. With a pool
// each Service gets an address of its own.
func newAddressesCommand() *cobra.Command {
	var kubeconfig, pool string
	command := &cobra.Command{Use: "service-addresses", RunE: func(*cobra.Command, []string) error {
		return giveAddresses(kubeconfig, pool)
	}}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how the API server is reached")
	command.Flags().StringVar(&pool, "pool", "", "addresses to give, as a CIDR; the nodes' own if empty")
	return command
}

func giveAddresses(kubeconfig, pool string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var prefix netip.Prefix
	if pool != "" {
		if prefix, err = netip.ParsePrefix(pool); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	factory := informers.NewSharedInformerFactory(client, 0)
	services, nodes := factory.Core().V1().Services(), factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), nodes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := services.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		there, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		for service, addresses := range decide(all, there, prefix) {
			if err := write(ctx, client, service, addresses); err != nil {
				fmt.Fprintf(os.Stderr, "%s/%s: %v\n", service.Namespace, service.Name, err)
				time.AfterFunc(time.Second, notify)
			}
		}
	}
}

// decide says which addresses each Service is to have.
func decide(services []*core.Service, nodes []*core.Node, pool netip.Prefix) map[*core.Service][]string {
	wanted := map[*core.Service][]string{}
	var waiting []*core.Service
	for _, service := range services {
		if service.Spec.Type == core.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil && service.DeletionTimestamp == nil {
			waiting = append(waiting, service)
		}
	}
	// who has an address keeps it; of the others, the oldest comes first
	slices.SortFunc(waiting, func(a, b *core.Service) int {
		if held := len(b.Status.LoadBalancer.Ingress) - len(a.Status.LoadBalancer.Ingress); held != 0 {
			return held
		}
		if age := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); age != 0 {
			return age
		}
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	if pool.IsValid() {
		fromPool(waiting, pool, wanted)
		return wanted
	}
	addresses := ready(nodes)
	holders := map[string]bool{}
	for _, service := range waiting {
		free := true
		for _, port := range service.Spec.Ports {
			free = free && !holders[fmt.Sprint(port.Protocol, port.Port)]
		}
		if !free {
			wanted[service] = nil
			continue
		}
		for _, port := range service.Spec.Ports {
			holders[fmt.Sprint(port.Protocol, port.Port)] = true
		}
		wanted[service] = addresses
	}
	return wanted
}

func fromPool(services []*core.Service, pool netip.Prefix, wanted map[*core.Service][]string) {
	taken := map[string]bool{}
	for _, service := range services {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			if address, err := netip.ParseAddr(ingress.IP); err == nil && pool.Contains(address) && !taken[ingress.IP] {
				taken[ingress.IP] = true
				wanted[service] = []string{ingress.IP}
				break
			}
		}
	}
	next := pool.Addr().Next() // the first address of a network is nobody's
	for _, service := range services {
		if wanted[service] != nil {
			continue
		}
		for pool.Contains(next) && taken[next.String()] {
			next = next.Next()
		}
		if wanted[service] = nil; pool.Contains(next) {
			taken[next.String()] = true
			wanted[service] = []string{next.String()}
		}
	}
}

func ready(nodes []*core.Node) []string {
	var addresses []string
	for _, node := range nodes {
		for _, condition := range node.Status.Conditions {
			if condition.Type != core.NodeReady || condition.Status != core.ConditionTrue {
				continue
			}
			for _, address := range node.Status.Addresses {
				if address.Type == core.NodeInternalIP && !strings.Contains(address.Address, ":") {
					addresses = append(addresses, address.Address)
				}
			}
		}
	}
	slices.Sort(addresses)
	return addresses
}

func write(ctx context.Context, client kubernetes.Interface, service *core.Service, addresses []string) error {
	var has []string
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		has = append(has, ingress.IP)
	}
	if slices.Equal(has, addresses) {
		return nil
	}
	changed := service.DeepCopy()
	changed.Status.LoadBalancer.Ingress = nil
	for _, address := range addresses {
		changed.Status.LoadBalancer.Ingress = append(changed.Status.LoadBalancer.Ingress, core.LoadBalancerIngress{IP: address})
	}
	_, err := client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, changed, meta.UpdateOptions{})
	return err
}
