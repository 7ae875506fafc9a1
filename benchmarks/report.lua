-- The figures of one run of wrk, exact and in one line (its own summary rounds them).
done = function(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "FIGURES %d %d %d %d %d %d\n",
      summary.requests, summary.duration, summary.bytes,
      errors.connect + errors.read + errors.write + errors.timeout + errors.status,
      latency:percentile(50), latency:percentile(99)
   ))
end
