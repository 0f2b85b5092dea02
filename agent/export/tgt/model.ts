import type { RunningTgtd } from './daemon.ts'
import { parseAccounts, parseTargets } from './target-text.ts'
import type { UsedTids } from './used-tids.ts'

/** The volume. LUN 0 of every target of tgt is its controller, and nothing takes that away: `tgt_target_create` of usr/target.c. */
export const UNIT = 1

export interface Unit {
  readonly device: string
  readonly serial: string
  readonly isReadonly: boolean
}

/** What one target of our tgtd is now; changed by what changes it there, once that is done. */
export interface KnownTarget {
  readonly tid: number
  readonly wwn: string
  unit: Unit | undefined
  chapUser: string | undefined
  readonly initiators: Set<string>
  /** Somebody who may not come in any more may be half way through a login that began before: his session is ended when it is seen. */
  mayLinger: boolean
}

/** All of one tgtd. It knows one secret for a name, whoever's target that is for. */
export interface Model {
  readonly targets: Map<string, KnownTarget>
  readonly tids: UsedTids
  /** By name. Undefined: made by an earlier process of this agent, so nobody knows it any more. */
  readonly secrets: Map<string, string | undefined>
}

/** @returns undefined where what it tells cannot be believed */
export async function readModel({ control, tids }: RunningTgtd): Promise<Model | undefined> {
  const drivers = await control.ask({ mode: 'driver', operation: 'show' })
  const listed = parseTargets(await control.ask({ mode: 'target', operation: 'show' }), drivers)
  if (listed === undefined) return undefined
  const accounts = parseAccounts(await control.ask({ mode: 'account', operation: 'show' }))
  // One account a target is all that is ever bound.
  if (listed.some(({ chapUsers }) => chapUsers.length > 1)) return undefined
  const targets = listed.map(
    ({ tid, wwn, unit, chapUsers: [chapUser], initiators }): KnownTarget => ({
      tid,
      wwn,
      unit,
      chapUser,
      initiators: new Set(initiators),
      mayLinger: true,
    }),
  )
  for (const { tid } of targets) tids.add(tid)
  return {
    targets: new Map(targets.map((target) => [target.wwn, target])),
    tids,
    secrets: new Map(accounts.map((name) => [name, undefined])),
  }
}
