import type { NatsConnection } from 'nats'
import type { FleetView } from './core/fleet-view.ts'
import type { OrderBook } from './core/orders.ts'
import type { InstanceNames } from './core/point-instances.ts'
import type { PointOrders } from './core/point-orders.ts'
import { createPoints } from './core/points.ts'
import type { HostSeal } from './core/secrets.ts'
import { createTargets, type Targets } from './core/targets.ts'
import type { Sql } from './db/sql.ts'
import { createPointStore } from './db/stores/point-store.ts'
import { secretRows } from './db/stores/secret-store.ts'
import { createTargetStore } from './db/stores/target-store.ts'
import { createVolumeStore } from './db/stores/volume-store.ts'
import { createHostReads } from './hosts/host-reads.ts'
import { createSecrets } from './secrets/secrets.ts'
import type { Vault } from './secrets/vault.ts'

/** Archives and where they go. */
export function openPoints(deps: {
  readonly sql: Sql
  readonly vault: Vault
  readonly nats: NatsConnection
  readonly seal: HostSeal
  readonly orders: OrderBook
  readonly fleet: FleetView
  readonly instances: InstanceNames
}): { readonly points: PointOrders; readonly targets: Targets } {
  const { sql, vault, nats, seal, orders, fleet, instances } = deps
  const store = createTargetStore(sql, (within) => createSecrets({ rows: secretRows(within), vault }))
  const reads = createHostReads({ nats, seal })
  return {
    points: createPoints({
      ...{
        orders,
        reader: createPointStore(sql),
        targets: store,
        instances,
        volumes: createVolumeStore(sql),
        fleet,
        reads,
      },
    }),
    targets: createTargets({ store, fleet, reads }),
  }
}
