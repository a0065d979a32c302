-- What wrk sends, and its figures as one line of JSON. Arguments: the body, then a name and a value for each header.

function init(args)
  wrk.method = 'POST'
  wrk.body = args[1]
  for at = 2, #args, 2 do wrk.headers[args[at]] = args[at + 1] end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'figures {"requests":%d,"seconds":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
