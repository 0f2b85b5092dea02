import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import type { ReadablePoint } from '../../shared/point-spec.ts'
import type { TargetSecret } from '../../shared/target-config.ts'
import type { Caller } from './caller.ts'
import { checkRequest } from './check-request.ts'
import type { FleetView } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { hostThatReads, type KeptPoint, localTarget, orderTarget, requireReadable } from './point-orders.ts'
import { AskedMember } from './point-requests.ts'
import type { Points } from './points.ts'
import type { KeptTarget, TargetReader } from './targets.ts'

/** What an agent is told of a point, and by whom it can be read. */
interface Reading {
  readonly point: ReadablePoint
  readonly host: string
  readonly targetId: string | null
  readonly secret: TargetSecret | undefined
}

const AskedPath = z.object({ path: AskedMember })

/** What is asked of agents about points that lie somewhere. */
export function createPointReads(deps: {
  readonly targets: TargetReader
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly find: (caller: Caller, id: string) => Promise<KeptPoint>
  readonly targetOf: (caller: Caller, id: string | undefined) => Promise<KeptTarget | undefined>
}): Pick<Points, 'files' | 'diff'> {
  const { targets, fleet, reads, find, targetOf } = deps

  async function reading(caller: Caller, id: string): Promise<Reading> {
    const found = await find(caller, id)
    requireReadable(found)
    const target = await targetOf(caller, found.target?.id)
    return {
      point: {
        target: target ? orderTarget(target) : localTarget(caller.groupId),
        series: found.series,
        pointId: found.id,
        chain: [...found.bases, { id: found.id, name: found.name }],
      },
      host: found.host,
      targetId: target?.id ?? null,
      secret: target && (await targets.secret(target)),
    }
  }

  return {
    async files(caller, id, { path, search, cursor, limit }) {
      const asked = checkRequest(AskedPath, { path }).path
      const { point, secret, ...place } = await reading(caller, id)
      const question = { point, path: asked, search, cursor, limit }
      const { items, next } = await reads.ask(hostThatReads(fleet, place).name, 'point-files', question, secret)
      return { items, nextCursor: next }
    },

    async diff(caller, id, other, { cursor, limit }) {
      const before = await reading(caller, id)
      const after = await reading(caller, other)
      const reader = readerOf(before, after)
      const question = { before: before.point, after: after.point, cursor, limit }
      const host = hostThatReads(fleet, reader).name
      const { items, next } = await reads.ask(host, 'point-diff', question, reader.secret)
      return { items, nextCursor: next }
    },
  }
}

/** Who can read both. @throws invalid when nobody can. */
function readerOf(a: Reading, b: Reading): Pick<Reading, 'host' | 'targetId' | 'secret'> {
  const isApart =
    a.targetId !== null && b.targetId !== null
      ? a.targetId !== b.targetId
      : a.targetId === null && b.targetId === null && a.host !== b.host
  if (isApart) {
    throw new FleetError('invalid', 'the points lie where nobody can read both: on two targets, or on two hosts', {
      field: 'other',
    })
  }
  const [local, remote] = a.targetId === null ? [a, b] : [b, a]
  return { host: local.host, targetId: local.targetId, secret: remote.secret ?? local.secret }
}
