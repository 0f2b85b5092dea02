import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { ExportCounts } from './db/stores/export-counts.ts'

/** What Prometheus sees of this replica beside the requests that the HTTP layer counts. */
export function createMetrics(deps: {
  readonly registry: { onlineCount(): number }
  readonly feed: { head(): number }
  readonly audit: { dropped(): number }
  readonly schedules: { overdueCount(): number }
  readonly exportCounts: () => Promise<ExportCounts>
  readonly station: { state(): { readonly goodAt: Date | null; readonly overdue: boolean } }
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
  new Gauge({
    name: 'holdfast_station_backup_overdue',
    help: '1 when the due backup of the station itself is missing',
    registers: [metrics],
    collect() {
      this.set(deps.station.state().overdue ? 1 : 0)
    },
  })
  new Gauge({
    name: 'holdfast_station_backup_good_timestamp_seconds',
    help: 'When the newest good backup of the station itself began; 0 before there is one',
    registers: [metrics],
    collect() {
      this.set((deps.station.state().goodAt?.getTime() ?? 0) / 1000)
    },
  })
  new Gauge({
    name: 'holdfast_exports',
    help: 'iSCSI exports of the fleet by state, as Postgres had them at most half a minute ago; none while it is away',
    labelNames: ['state'] as const,
    registers: [metrics],
    async collect() {
      const counts = await deps.exportCounts().catch(() => undefined)
      this.reset()
      for (const [state, n] of Object.entries(counts ?? {})) this.set({ state }, n)
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
