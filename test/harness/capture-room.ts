import type { ExecutionContext } from 'ava'
import { DEFAULT_GROUP_ID } from '../../control-plane/core/caller.ts'
import { newId } from '../../shared/ids.ts'
import type { InstanceState } from '../../shared/instance-spec.ts'
import { GIB, openVolumeRoom } from './volume-room.ts'

export type CaptureRoom = Awaited<ReturnType<typeof openCaptureRoom>>

/** A VolumeRoom with containers that host `a` has, whose agent tells where they lie. */
export async function openCaptureRoom(t: Pick<ExecutionContext, 'teardown'>) {
  const room = await openVolumeRoom(t)
  const told = new Map<
    string,
    { state: InstanceState; parts: { destination: string; dataset: object | null; volume?: string }[] }
  >()
  const subscription = await room.answers('a', 'instance-parts', ({ body }) => {
    const { place } = body as { place: { instance: string } } // as: what was asked, by its schema
    return { ok: true, body: told.get(place.instance) ?? { state: 'RUNNING', parts: [] } }
  })
  t.teardown(() => subscription.unsubscribe())

  return {
    ...room,
    /** What host `a` tells of one of its instances from now on, its name being what it is called there. */
    tells: (ref: string, parts: { destination: string; dataset: null; volume?: string }[]) =>
      void told.set(ref, { state: 'STOPPED', parts }),
    /** @param parts destinations and the datasets there, by name; null: in none. @returns its id */
    async instance(
      name: string,
      parts: Readonly<Record<string, string | null>>,
      { groupId = DEFAULT_GROUP_ID, state = 'RUNNING' as InstanceState } = {},
    ): Promise<string> {
      const id = newId()
      const listed = []
      for (const [destination, dataset] of Object.entries(parts)) {
        const [row] =
          dataset === null
            ? []
            : await room.db.query('select id from dataset where name = $1 order by created_at desc', [dataset])
        listed.push({ destination, dataset: row === undefined ? null : { pool: 'a-pool', dataset: row.id } })
      }
      told.set(name, { state, parts: listed })
      await room.db.query(
        `insert into instance (id, group_id, host_id, type, ref, name, state)
         select $1, $2, h.id, 'lxc', $3, $3, $4 from host h where h.name = 'a'`,
        [id, groupId, name, state],
      )
      return id
    },
    attach: (volumeId: string, instanceId: string) =>
      room.db.query(`insert into volume_attachment (id, volume_id, instance_id, mode) values ($1, $2, $3, 'rw')`, [
        newId(),
        volumeId,
        instanceId,
      ]),
    /** What its host says to a snapshot of an instance that was ordered. */
    async take(jobId: string, consistency: 'frozen' | 'crash' = 'frozen'): Promise<void> {
      const { spec } = await room.sent(jobId)
      if (spec.kind !== 'instance.snapshot') throw new Error(spec.kind)
      const parts = spec.parts.map(({ kind }) =>
        kind === 'volume'
          ? { kind, guid: 'g', sizeBytes: 2 * GIB }
          : { kind, rootInode: 256, mountpoint: '/a-pool/x', atomic: true, cow: true },
      )
      const held = { kind: 'pause', ms: 20, intact: true } as const
      await room.succeed(jobId, { parts, consistency, held })
    },
    /** The job that makes or deletes it. */
    async jobOf(id: string): Promise<string> {
      const [row] = await room.db.query('select job_id from instance_snapshot where id = $1', [id])
      return row?.job_id
    },
    async datasetsNow(): Promise<string[]> {
      const rows = await room.db.query(`select name, state from dataset where name <> 'root' order by ordinal`)
      return rows.map((row: { name: string; state: string }) => `${row.name} ${row.state}`)
    },
    async forgetCaptures(): Promise<void> {
      await room.forget()
      for (const table of [
        'instance_snapshot',
        'instance_backup',
        'volume_backup',
        'instance',
        'point',
        'point_series',
      ])
        await room.db.query(`delete from ${table}`)
      await room.db.query(`delete from dataset where name <> 'root'`)
    },
  }
}
