import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** What Prometheus sees of this replica beside the requests that the HTTP layer counts. */
export function createMetrics(deps: {
  readonly registry: { onlineCount(): number }
  readonly feed: { head(): number }
  readonly audit: { dropped(): number }
  readonly schedules: { overdueCount(): number }
}): Registry {
  const metrics = new Registry()
  collectDefaultMetrics({ register: metrics })
  new Gauge({
    name: 'holdfast_hosts_online',
    help: 'Hosts heard within the last 15 seconds',
    registers: [metrics],
    collect() {
      this.set(deps.registry.onlineCount())
    },
  })
  new Gauge({
    name: 'holdfast_feed_head',
    help: 'Sequence number of the newest event',
    registers: [metrics],
    collect() {
      this.set(deps.feed.head())
    },
  })
  new Gauge({
    name: 'holdfast_schedules_overdue',
    help: 'Schedules of which a due instant has had no good run within its grace',
    registers: [metrics],
    collect() {
      this.set(deps.schedules.overdueCount())
    },
  })
  new Counter({
    name: 'holdfast_audit_dropped_total',
    help: 'Refusals that the audit had no room for',
    registers: [metrics],
    collect() {
      this.reset()
      this.inc(deps.audit.dropped())
    },
  })
  return metrics
}
