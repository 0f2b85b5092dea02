import { FleetError } from '../../../shared/errors.ts'
import type { WantedTarget } from '../exports.ts'
import type { Control } from './control.ts'
import type { KnownTarget, Model } from './model.ts'
import { TGT_ERRORS } from './request.ts'
import { shutOut } from './target.ts'

/**
 * Makes tgtd know the secrets that these targets ask for, before any of them asks. It knows one for a name: another one is taken on once
 * no other target needs the old one, and refused until then. Targets that asked for another one are open to nobody from then on; of a
 * tgtd that an earlier process left, nobody knows which it was.
 * @returns which of them cannot have theirs
 */
export async function settleAccounts(
  control: Control,
  model: Model,
  wanted: readonly WantedTarget[],
): Promise<ReadonlySet<WantedTarget>> {
  const refused = new Set<WantedTarget>()
  const users = Map.groupBy(wanted, ({ access }) => access.chap?.user)
  users.delete(undefined)
  for (const [user = '', group] of users) {
    const known = model.secrets.get(user)
    const holders = [...model.targets.values()].filter(({ chapUser }) => chapUser === user)
    const isShared = holders.some(({ wwn }) => !group.some((one) => one.wwn === wwn))
    const secret = isShared ? known : group[0]?.access.chap?.secret
    for (const one of group) if (one.access.chap?.secret !== secret) refused.add(one)
    if (secret === undefined || secret === known) continue
    for (const holder of holders) {
      await shutOut(control, holder, holder.initiators)
      await unbind(control, holder)
    }
    await dropAccount(control, model, user)
    await control.ask({ mode: 'account', operation: 'new', params: `user=${user},password=${secret}` })
    model.secrets.set(user, secret)
  }
  return refused
}

export function otherSecret(): FleetError {
  return new FleetError(
    'conflict',
    'another export of this host has another secret for that CHAP name, and its target daemon knows one for a name',
  )
}

/** Only while nobody may log in: a target without an account asks for no secret. */
export async function bindAccount(control: Control, target: KnownTarget, user: string | undefined): Promise<void> {
  if (target.chapUser === user) return
  await unbind(control, target)
  if (user === undefined) return
  await control.ask({ mode: 'account', operation: 'bind', tid: target.tid, params: `user=${user}` })
  target.chapUser = user
}

/** Before another is bound, always: tgtd dies of listing a target whose first account is gone while it has a second. */
async function unbind(control: Control, target: KnownTarget): Promise<void> {
  if (target.chapUser === undefined) return
  const params = `user=${target.chapUser}`
  const request = { mode: 'account', operation: 'unbind', tid: target.tid, params } as const
  await control.settle(request, TGT_ERRORS.noAccount)
  target.chapUser = undefined
}

/** Forgets secrets that no target needs any more. */
export async function dropUnused(control: Control, model: Model): Promise<void> {
  const used = new Set([...model.targets.values()].map(({ chapUser }) => chapUser))
  for (const user of [...model.secrets.keys()].filter((name) => !used.has(name))) {
    await dropAccount(control, model, user)
  }
}

async function dropAccount(control: Control, model: Model, user: string): Promise<void> {
  if (!model.secrets.has(user)) return
  await control.settle({ mode: 'account', operation: 'delete', params: `user=${user}` }, TGT_ERRORS.noAccount)
  model.secrets.delete(user)
}
