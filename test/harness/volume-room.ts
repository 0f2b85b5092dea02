import type { ExecutionContext } from 'ava'
import type { Caller } from '../../control-plane/core/caller.ts'
import type { SpecOf } from '../../shared/job-spec.ts'
import type { ExportsCreated, ExportsDeleted, VolumeMade } from '../../shared/volume-spec.ts'
import { ADMIN, openPointRoom } from './point-room.ts'

export const GIB = 2 ** 30
export const INITIATOR = 'iqn.2026-01.test:node1'
export const wwnOf = (name: string | number) => `iqn.2026-01.test:${name}`
const TIMES = { cloneSeconds: 0.25, deviceSeconds: 0.125, targetSeconds: 0.5 }

export type VolumeRoom = Awaited<ReturnType<typeof openVolumeRoom>>

/** A PointRoom with what its agents would say of volumes and exports: a test tells it for them. */
export async function openVolumeRoom(t: Pick<ExecutionContext, 'teardown'>) {
  const room = await openPointRoom(t)
  let guids = 0

  function made(place: { readonly pool: string; readonly volume: string }): VolumeMade {
    guids += 1
    return { sizeBytes: GIB, device: `/${place.pool}/${place.volume}`, guid: `guid-${guids}`, cow: true }
  }

  /** The order of a job, as it was placed. */
  async function specOf<Kind extends 'export.create' | 'export.delete'>(jobId: string, kind: Kind) {
    const { spec } = await room.jobs.get(ADMIN, jobId)
    if (spec.kind !== kind) throw new Error(`${jobId} is ${spec.kind}`)
    // as: its kind was compared
    return spec as SpecOf<Kind>
  }

  return {
    ...room,
    made,
    specOf,
    /** A volume that is there. */
    async volume(name: string, caller: Caller = ADMIN, pool = 'a-pool') {
      const { jobId, volume } = await room.volumes.create(caller, { name, sizeBytes: GIB, pool })
      await room.succeed(jobId, made({ pool, volume: name }))
      return room.volumes.get(caller, volume.id)
    },
    async snapshot(path: string, name: string, caller: Caller = ADMIN) {
      const { jobId } = await room.volumes.snapshot(caller, path, name)
      await room.succeed(jobId, { guid: `s-${name}`, sizeBytes: GIB })
      return `${path}@${name}`
    },
    /** The agent made all but those elements. */
    async exported(
      jobId: string,
      but: Readonly<Record<number, string>> = {},
      given: { readonly reused?: boolean } = {},
    ) {
      const { elements } = await specOf(jobId, 'export.create')
      const result: ExportsCreated = {
        done: elements
          .filter(({ n }) => but[n] === undefined)
          .map(({ n, place }) => ({ n, volume: made(place), reused: given.reused ?? false, diverged: false })),
        errors: Object.entries(but).map(([n, code]) => ({ n: Number(n), code, message: `it is ${code}` })),
        times: TIMES,
      }
      await room.succeed(jobId, result)
    },
    /** The agent removed all but those elements. */
    async unexported(jobId: string, but: Readonly<Record<number, { readonly unexported: boolean }>> = {}) {
      const { elements } = await specOf(jobId, 'export.delete')
      const result: ExportsDeleted = {
        done: elements.filter(({ n }) => but[n] === undefined).map(({ n }) => ({ n })),
        errors: Object.entries(but).map(([n, { unexported }]) => {
          return { n: Number(n), code: 'conflict', message: 'in use', unexported }
        }),
        times: TIMES,
      }
      await room.succeed(jobId, result)
    },
    /** Rows as they stand: `<name> <state>`, in their order. */
    async rows(table: 'volume' | 'volume_snapshot' | 'export'): Promise<string[]> {
      const name = table === 'export' ? 'wwn' : 'path'
      const rows = await room.db.query(`select ${name} as name, state from ${table} order by 1, created_at, id`)
      return rows.map((row: { name: string; state: string }) => `${row.name} ${row.state}`)
    },
    async secrets(): Promise<number> {
      const [{ n }] = await room.db.query(`select count(*)::int as n from secret where kind = 'chap-secrets'`)
      return n
    },
    /** As if nobody had ever made any. */
    async forget(): Promise<void> {
      for (const table of ['export_batch', 'export_reconcile', 'export', 'volume', 'lane_hold']) {
        await room.db.query(`delete from ${table}`)
      }
      await room.db.query(`update job set state = 'cancelled', finished_at = now() where finished_at is null`)
      await room.db.query(`delete from secret where kind = 'chap-secrets'`)
      for (const name of ['a', 'b', 'bare']) room.registry.heard(name)
    },
    stateOf: async (jobId: string) => (await room.jobs.get(ADMIN, jobId)).state,
  }
}
