{{/* Labels of every object. */}}
{{- define "minimesh.labels" -}}
app.kubernetes.io/part-of: minimesh
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The one image. */}}
{{- define "minimesh.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Where and how the mesh's own pods run. */}}
{{- define "minimesh.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .Values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 2102
  runAsGroup: 2102
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* What the mesh's own containers may: nothing. */}}
{{- define "minimesh.rights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* Health of the mesh's own pods. */}}
{{- define "minimesh.probes" -}}
livenessProbe:
  httpGet:
    path: /live
    port: admin
  initialDelaySeconds: 10
readinessProbe:
  httpGet:
    path: /ready
    port: admin
  periodSeconds: 2
  failureThreshold: 2
{{- end }}
