# What both servers answer: status, headers (a list of pairs) and body (something with each). What the mesh and the machine add
# to a request is left out.
require 'digest'

OWN = /\A(connection|keep-alive|l5d-client-id)\z/i

def answer(method, path, query, version, fields, body)
  case path
  when '/bytes'
    [200, [['Content-Type', 'application/octet-stream']], Enumerator.new { |out| query.to_i.times { |number| out << "piece #{number} " * 100 } }]
  when '/headers'
    [201, [['X-CaSe', 'Kept'], ['X-Long', 'long ' * 1000], ['Content-Type', 'text/plain']], ["headers\n"]]
  when '/redirect'
    [307, [['Location', '/echo?redirected']], []]
  when '/status'
    [query.to_i, [], []]
  else
    said = ["#{method} #{path} #{query} #{version}"]
    said += fields.reject { |name, _| name.match?(OWN) }.map { |name, value| "#{name}: #{value}" }.sort
    said << "#{body.bytesize} #{Digest::SHA256.hexdigest(body)}"
    [200, [['Content-Type', 'text/plain']], ["#{said.join("\n")}\n"]]
  end
end
