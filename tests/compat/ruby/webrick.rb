# WEBrick. Argument: port.
require 'webrick'
require_relative 'application'

server = WEBrick::HTTPServer.new(Port: Integer(ARGV[0]), BindAddress: '0.0.0.0', AccessLog: [])
server.mount_proc('/') do |request, response|
  fields = request.header.flat_map { |name, values| values.map { |value| [name, value] } }
  # asked with `Expect: 100-continue`, a body is there after this
  request.continue
  version = "HTTP/#{request.http_version}"
  status, headers, body = answer(request.request_method, request.path, request.query_string, version, fields, request.body.to_s)
  response.status = status
  headers.each { |name, value| response[name] = value }
  response.cookies << WEBrick::Cookie.new('a', '1') << WEBrick::Cookie.new('b', '2') if request.path == '/headers'
  if body.is_a?(Array)
    response.body = body.join
  else
    response.chunked = request.http_version >= '1.1'
    response.body = proc { |out| body.each { |piece| out.write(piece) } }
  end
end
# a server that WEBrick's users have: other methods than those that it knows by name
WEBrick::HTTPServlet::ProcHandler.class_eval do
  %w[PUT PATCH DELETE OPTIONS].each { |method| alias_method("do_#{method}", :do_GET) }
end
server.start
