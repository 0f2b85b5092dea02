import { setTimeout as pause } from 'node:timers/promises'
import type { ReadAnswerOf } from '../../shared/wire/reads.ts'
import type { ExportInfo, LiveExport } from './exports.ts'
import type { FleetView } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'

/** Asked at a time; a page of exports may be of many hosts. */
const MAX_INQUIRIES = 16
/** In one question. */
const MAX_WWNS = 1_000
/** All of them together: a page is answered without what is not told by then. */
const WITHIN_MS = 4_000

/** What hosts tell of these exports this moment, by their ids. Those of silent hosts are missing. Never throws for a host's sake. */
export function createLiveExports(deps: {
  readonly reads: HostReads
  readonly fleet: Pick<FleetView, 'isOnline'>
  readonly withinMs?: number
}) {
  const { reads, fleet, withinMs = WITHIN_MS } = deps

  async function ask(
    host: string,
    exports: readonly ExportInfo[],
  ): Promise<readonly (readonly [string, LiveExport])[]> {
    if (!fleet.isOnline(host)) return []
    const wwns = exports.slice(0, MAX_WWNS).map(({ wwn }) => wwn)
    const answer = await reads.ask(host, 'exports', { wwns, limit: MAX_WWNS }).catch(() => undefined)
    return answer === undefined ? [] : told(answer, exports)
  }

  return async (exports: readonly ExportInfo[]): Promise<ReadonlyMap<string, LiveExport>> => {
    const standing = exports.filter(({ state }) => state === 'available')
    const hosts = [...Map.groupBy(standing, ({ host }) => host)]
    const answers: (readonly [string, LiveExport])[] = []
    const next = async (): Promise<void> => {
      for (let one = hosts.pop(); one !== undefined; one = hosts.pop()) answers.push(...(await ask(...one)))
    }
    const answered = new AbortController()
    const late = pause(withinMs, undefined, { signal: answered.signal }).catch(() => undefined)
    await Promise.race([late, Promise.all(Array.from({ length: Math.min(MAX_INQUIRIES, hosts.length) }, next))])
    answered.abort()
    hosts.length = 0
    return new Map(answers)
  }
}

function told({ portals, lun, items }: ReadAnswerOf<'exports'>, exports: readonly ExportInfo[]) {
  const byWwn = new Map(items.map((item) => [item.wwn, item]))
  return exports.flatMap(({ id, wwn }) => {
    const item = byWwn.get(wwn)
    const portal = portals[0] ?? ''
    // Under that name it keeps another one yet, whose sessions are not this one's.
    const isOther = item !== undefined && item.exportId !== id
    const live = isOther
      ? { portal, lun, standing: false, sessions: [] }
      : item && { portal, lun, standing: item.standing, sessions: item.sessions }
    return live === undefined ? [] : [[id, live] as const]
  })
}
