# Ruby's Net::HTTP against WEBrick and Puma. Arguments: two URLs. Prints what an application sees.
require 'digest'
require 'net/http'

OWN = /\A(connection|keep-alive|date)\z/i

def shown(answer)
  puts "HTTP/#{answer.http_version} #{answer.code} #{answer.message}"
  answer.each_capitalized { |name, value| puts "#{name}: #{value[0, 200]}" unless name.match?(OWN) }
  body = answer.body.to_s
  puts body.bytesize < 3000 ? body : "#{body.bytesize} #{Digest::SHA256.hexdigest(body)}"
end

class Pieces
  def initialize(count) = @left = count

  def read(_size = nil, buffer = +'')
    return nil if @left.zero?

    @left -= 1
    buffer.replace("piece #{@left} " * 500)
  end
end

def kept(base)
  http = Net::HTTP.start(base.host, base.port, read_timeout: 20)
  ask = lambda do |what, request|
    puts "\n-- #{what} #{request.method} #{request.path}"
    shown(http.request(request))
  rescue StandardError => error
    puts "failed: #{error.class}"
  end
  request = ->(kind, path, fields = {}, body = nil) { Net::HTTP.const_get(kind).new(path, fields).tap { |made| made.body = body if body } }
  ask.('plain', request.('Get', '/echo?a=%20b'))
  ask.('fields', request.('Get', '/echo', { 'X-Case' => 'Kept', 'X-Text' => 'some text' }))
  ask.('as it is', request.('Get', '/echo', { 'Accept-Encoding' => 'identity' }))
  %w[Head Delete Options].each { |kind| ask.('plain', request.(kind, '/echo')) }
  %w[Post Put Patch].each { |kind| ask.('small', request.(kind, '/echo', { 'Content-Type' => 'text/plain' }, 'small')) }
  ask.('large', request.('Post', '/echo', { 'Content-Type' => 'text/plain' }, 'large ' * 500_000))
  chunked = request.('Put', '/echo', { 'Transfer-Encoding' => 'chunked', 'Content-Type' => 'text/plain' })
  chunked.body_stream = Pieces.new(50)
  ask.('in chunks', chunked)
  http.continue_timeout = 20
  ask.('asked first', request.('Post', '/echo', { 'Expect' => '100-continue', 'Content-Type' => 'text/plain' }, 'after a 100'))
  http.continue_timeout = nil
  form = request.('Post', '/echo')
  form.set_form([['field', 'value'], ['file', 'contents ' * 1000, { filename: 'a.txt' }]], 'multipart/form-data', boundary: 'never-in-it')
  ask.('a form', form)
  ['/headers', '/bytes?500', '/redirect', '/hints', '/hijack', '/echo?afterwards'].each { |path| ask.('plain', request.('Get', path)) }
  [204, 304, 404, 503].each { |code| ask.('plain', request.('Get', "/status?#{code}")) }
  http.finish
end

def piecewise(base)
  puts "\n-- read piece by piece, and given up"
  Net::HTTP.start(base.host, base.port) do |http|
    http.request_get('/bytes?500') do |answer|
      digest = Digest::SHA256.new
      answer.read_body { |piece| digest << piece }
      puts digest.hexdigest
    end
  end
  Net::HTTP.start(base.host, base.port) do |http|
    http.request_get('/bytes?5000') { |answer| answer.read_body { |piece| break puts(piece[0, 20]) } }
  end
end

def at_once(base)
  puts "\n-- forty at once"
  threads = (1..40).map do |number|
    Thread.new { Net::HTTP.post(base + "/echo?#{number}", 'x' * (number * 1000)) }
  end
  threads.each { |thread| puts "#{thread.value.code} #{Digest::SHA256.hexdigest(thread.value.body)}" }
end

%w[WEBrick Puma].zip(ARGV).each do |name, url|
  puts "\n==== #{name}"
  base = URI(url)
  kept(base)
  piecewise(base)
  at_once(base)
end
