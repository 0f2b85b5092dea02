import type { Control } from './control.ts'
import { parseAccounts, parseTargets } from './target-text.ts'

/** The volume. LUN 0 of every target of tgt is its controller, and nothing takes that away: `tgt_target_create` of usr/target.c. */
export const UNIT = 1

export interface Unit {
  readonly device: string
  readonly serial: string
}

/** What one target of our tgtd is now; changed by what changes it there, once that is done. */
export interface KnownTarget {
  readonly tid: number
  readonly wwn: string
  unit: Unit | undefined
  chapUser: string | undefined
  readonly initiators: Set<string>
}

/** All of one tgtd. It knows one secret for a name, whoever's target that is for. */
export interface Model {
  readonly targets: Map<string, KnownTarget>
  readonly tids: Set<number>
  /** By name. Undefined: made by an earlier process of this agent, so nobody knows it any more. */
  readonly secrets: Map<string, string | undefined>
}

/** @returns undefined where what it tells cannot be believed */
export async function readModel(control: Control): Promise<Model | undefined> {
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
    }),
  )
  return {
    targets: new Map(targets.map((target) => [target.wwn, target])),
    tids: new Set(targets.map(({ tid }) => tid)),
    secrets: new Map(accounts.map((name) => [name, undefined])),
  }
}
