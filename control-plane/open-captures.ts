import type { NatsConnection } from 'nats'
import type { FleetView } from './core/fleet-view.ts'
import type { InstanceSnapshots } from './core/instance-captures.ts'
import { createInstanceSnapshots } from './core/instance-snapshots.ts'
import type { InstanceReader } from './core/instances.ts'
import type { HostSeal } from './core/secrets.ts'
import type { Sql } from './db/sql.ts'
import { createCaptureOrderStore } from './db/stores/capture-order-store.ts'
import type { ChangeStore } from './db/stores/change-store.ts'
import { createInstanceSnapshotStore } from './db/stores/instance-snapshot-store.ts'
import { createHostReads } from './hosts/host-reads.ts'
import { createCaptureBook } from './jobs/capture-book.ts'
import type { Dispatch } from './jobs/dispatch.ts'

/** Snapshots of instances with all that they are made of. */
export function openCaptures(deps: {
  readonly sql: Sql
  readonly nats: NatsConnection
  readonly seal: HostSeal
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
}): { readonly instanceSnapshots: InstanceSnapshots } {
  const { sql, nats, seal, changes, dispatch, instances, fleet } = deps
  const book = createCaptureBook({ store: createCaptureOrderStore(sql), changes, dispatch })
  const reads = createHostReads({ nats, seal })
  const reader = createInstanceSnapshotStore(sql)
  return { instanceSnapshots: createInstanceSnapshots({ book, reader, instances, fleet, reads }) }
}
