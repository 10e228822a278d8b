# Puma, and its application.
require_relative 'application'

bind 'tcp://0.0.0.0:8081'
threads 8, 8
quiet
early_hints
app do |environment|
  path = environment['PATH_INFO']
  if path == '/hijack'
    socket = environment['rack.hijack'].call
    socket.write("HTTP/1.1 200 Mine Now\r\nX-Hijacked: yes\r\nConnection: close\r\n\r\nuntil the end")
    socket.close
    next [-1, {}, []]
  end
  environment['rack.early_hints']&.call('Link' => '</style.css>; rel=preload') if path == '/hints'
  fields = environment.filter_map { |name, value| [name.delete_prefix('HTTP_').tr('_', '-').downcase, value] if name.start_with?('HTTP_') }
  fields.reject! { |name, _| name == 'version' }
  body = environment['rack.input'].read
  status, headers, body = answer(environment['REQUEST_METHOD'], path, environment['QUERY_STRING'], environment['HTTP_VERSION'] || environment['SERVER_PROTOCOL'], fields, body)
  headers << ['Set-Cookie', "a=1\nb=2"] if path == '/headers'
  [status, headers.to_h, body]
end
