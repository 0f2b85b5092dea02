import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { TargetConfig, TargetSecret } from '../../shared/target-config.ts'
import type { ReadAnswerOf, TargetEntry } from '../../shared/wire/reads.ts'
import { type Caller, hasRole, requireRole } from './caller.ts'
import { type Condition, requireCondition } from './condition.ts'
import { anyOnline, type FleetView, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import type { Page, PageRequest } from './page.ts'
import { localTarget, orderTarget } from './point-orders.ts'
import { checkKeys, checkTarget, isSameServer, mergeSecret, requireOwnSecret } from './target-rules.ts'
import { changeVersion } from './version-change.ts'

/** Where archives go. `config.name` is its name. Its secret is sealed and never told. */
export interface TargetInfo {
  readonly id: string
  /** A small number, unique over the fleet: what dialects with integer ids show. */
  readonly number: number
  readonly groupId: string
  readonly name: string
  readonly description: string
  readonly config: TargetConfig
  readonly hasSecret: boolean
  /** age recipients: with any, new points are encrypted. */
  readonly recipients: readonly string[]
  /** Whether the fleet holds an identity that opens what it encrypts. */
  readonly hasIdentity: boolean
  readonly createdAt: Date
  readonly version: number
}

export interface CreateTarget {
  readonly config: unknown
  readonly description?: string | undefined
  readonly secret: TargetSecret
  readonly recipients?: readonly string[] | undefined
}

/**
 * Absent members stay; `config` is the whole of it; `secret` is merged member by member, and `''` takes a member away. A config that
 * leads elsewhere (host, base, bucket) moves nothing: points that lie there are then looked for where it leads. To another server
 * (protocol, host, port), or without encryption, only an admin can take the kept password or key along; operators must give it again.
 * The host key of an SFTP target stays while host and port do, unless another is given.
 */
export interface ChangeTarget {
  readonly config?: unknown
  readonly description?: string | undefined
  readonly secret?: TargetSecret | undefined
  readonly recipients?: readonly string[] | undefined
}

export interface TargetHealth {
  readonly alive: boolean
  readonly reason: string | null
  readonly freeBytes: number | null
}

export type TargetCondition = Condition<TargetInfo>

/** Targets of the caller's group; changes need the role operator. `id` is the uuid or the number, as text. */
export interface Targets {
  /** An SFTP target without a host key is pinned to the one its server shows now. @throws invalid, exists (name), unavailable (no agent could ask for the host key) */
  create(caller: Caller, request: CreateTarget): Promise<TargetInfo>
  get(caller: Caller, id: string): Promise<TargetInfo>
  list(caller: Caller, page: PageRequest): Promise<Page<TargetInfo>>
  /**
   * @param change what changes, or what tells it of the target as it is: `mergeConfig` there keeps what is not named.
   * @throws as `create` does, and what `change` throws; stale
   */
  update(
    caller: Caller,
    id: string,
    change: ChangeTarget | ((current: TargetInfo) => ChangeTarget),
    ifMatch?: TargetCondition,
  ): Promise<TargetInfo>
  /** @throws conflict (points lie there: `blockers`, the first twenty), stale */
  delete(caller: Caller, id: string, ifMatch?: TargetCondition): Promise<void>
  /** Asked of an agent; never throws for a target that cannot be reached. @throws unavailable when no agent is online */
  ping(caller: Caller, id: string): Promise<TargetHealth>
  /** @throws unavailable, not_found, invalid */
  browse(caller: Caller, id: string, path: string, page: PageRequest): Promise<Page<TargetEntry>>
  /** The group's directory below a host's backup root. @throws unavailable, not_found (host); invalid when several hosts are there and none is named */
  browseLocal(caller: Caller, host: string | undefined, path: string, page: PageRequest): Promise<Page<TargetEntry>>
}

/** With where its secret is kept. */
export type KeptTarget = TargetInfo & { readonly secretId: string | null }

/** What points need of targets. */
export interface TargetReader {
  /** By uuid or number. */
  find(groupId: string, id: string): Promise<KeptTarget | undefined>
  /** @returns undefined where it needs none. @throws internal when it cannot be opened. */
  secret(target: Pick<KeptTarget, 'secretId'>): Promise<TargetSecret | undefined>
}

/** What is written of a target. */
export interface TargetValues {
  readonly config: TargetConfig
  readonly description: string
  readonly recipients: readonly string[]
  /** Sealed before it is written; without members none is kept. Undefined: as it is. */
  readonly secret: TargetSecret | undefined
}

/** What Postgres must do for targets. Changes are written only to the version they were decided on, with their audit. */
export interface TargetStore extends TargetReader {
  list(groupId: string, page: PageRequest): Promise<Page<KeptTarget>>
  /** @throws exists. */
  create(caller: Caller, values: TargetValues): Promise<KeptTarget>
  /** @param fields what changes, for the audit. @returns undefined when it has another version by now. @throws exists. */
  change(
    caller: Caller,
    target: KeptTarget,
    values: TargetValues,
    fields: readonly string[],
  ): Promise<KeptTarget | undefined>
  /** @returns undefined when it has another version by now. @throws conflict. */
  delete(caller: Caller, target: KeptTarget): Promise<true | undefined>
}

export function noTarget(id: string, field?: string): FleetError {
  return new FleetError('not_found', `there is no target '${id}'`, field === undefined ? {} : { field })
}

/** The target that a member of a request names. @throws not_found, naming that member. */
export async function targetNamed(
  targets: Pick<Targets, 'get'>,
  caller: Caller,
  { id, field }: { readonly id: string; readonly field: string },
): Promise<TargetInfo> {
  try {
    return await targets.get(caller, id)
  } catch (error) {
    throw toFleetError(error).code === 'not_found' ? noTarget(id, field) : error
  }
}

export function createTargets(deps: {
  readonly store: TargetStore
  readonly fleet: FleetView
  readonly reads: HostReads
}): Targets {
  const { store, fleet, reads } = deps

  async function find(caller: Caller, id: string): Promise<KeptTarget> {
    const target = await store.find(caller.groupId, id)
    if (target === undefined) throw noTarget(id)
    return target
  }

  /** An SFTP target with the host key it is to be known by. @throws unavailable, and what the server's refusal is called. */
  async function pinned(config: TargetConfig, before: TargetConfig | undefined): Promise<TargetConfig> {
    if (config.protocol !== 'sftp' || config.hostKey !== undefined) return config
    if (before?.protocol === 'sftp' && before.hostKey !== undefined && isSameServer(config, before)) {
      return { ...config, hostKey: before.hostKey }
    }
    const { hostKey } = await reads.ask(anyOnline(fleet).name, 'target-host-key', { config })
    return { ...config, hostKey }
  }

  async function ask(target: KeptTarget): Promise<ReadAnswerOf<'target-ping'>> {
    const { name } = anyOnline(fleet)
    try {
      return await reads.ask(name, 'target-ping', { target: orderTarget(target) }, await store.secret(target))
    } catch (error) {
      const { code, message } = toFleetError(error)
      // Whether the target can be reached nobody has found out.
      if (code === 'unavailable' || code === 'internal') throw error
      return { alive: false, reason: message, freeBytes: null }
    }
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const { config, description = '', secret, recipients = [] } = request
      const checked = checkTarget({ config, description, secret, recipients })
      checkKeys(checked.recipients, checked.secret)
      const values = { ...checked, config: await pinned(checked.config, undefined) }
      return shown(await store.create(caller, values))
    },

    get: async (caller, id) => shown(await find(caller, id)),

    async list(caller, page) {
      const { items, nextCursor } = await store.list(caller.groupId, page)
      return { items: items.map(shown), nextCursor }
    },

    async update(caller, id, changeOf, ifMatch) {
      requireRole(caller, 'operator')
      const changed = await changeVersion(
        async () => {
          const target = await find(caller, id)
          requireCondition(ifMatch, shown(target))
          return target
        },
        async (target) => {
          const change = typeof changeOf === 'function' ? changeOf(shown(target)) : changeOf
          const { config, description, recipients } = { ...target, ...withoutAbsent(change) }
          const secret = change.secret ?? {}
          const checked = checkTarget({ config, description, recipients, secret })
          const opened = (await store.secret(target)) ?? {}
          if (!hasRole(caller, 'admin')) requireOwnSecret({ config: target.config, secret: opened }, checked)
          const merged = mergeSecret(opened, checked.secret)
          checkKeys(checked.recipients, merged)
          const values = {
            ...checked,
            config: await pinned(checked.config, target.config),
            secret: change.secret === undefined ? undefined : merged,
          }
          return store.change(caller, target, values, Object.keys(withoutAbsent(change)))
        },
      )
      return shown(changed)
    },

    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => {
          const target = await find(caller, id)
          requireCondition(ifMatch, shown(target))
          return target
        },
        (target) => store.delete(caller, target),
      )
    },

    ping: async (caller, id) => ask(await find(caller, id)),

    async browse(caller, id, path, { cursor, limit }) {
      const target = await find(caller, id)
      const question = { target: orderTarget(target), path, cursor, limit }
      const answer = await reads.ask(anyOnline(fleet).name, 'target-list', question, await store.secret(target))
      return { items: answer.items, nextCursor: answer.next }
    },

    async browseLocal(caller, host, path, { cursor, limit }) {
      const name = host === undefined ? onlyKeeper(fleet) : keeper(fleet, host)
      requireOnline(fleet, name)
      const question = { target: localTarget(caller.groupId), path, cursor, limit }
      const answer = await reads.ask(name, 'target-list', question)
      return { items: answer.items, nextCursor: answer.next }
    },
  }
}

/** @throws not_found. */
function keeper(fleet: FleetView, name: string): string {
  const host = fleet.host(name)
  if (host === undefined) throw new FleetError('not_found', `there is no host '${name}'`, { field: 'host' })
  if (host.backupRoot !== null) return name
  throw new FleetError('not_found', `host '${name}' keeps no backups itself`, { field: 'host' })
}

/** The one host with a backup root. @throws not_found, invalid. */
function onlyKeeper(fleet: FleetView): string {
  const keepers = [...fleet.hosts()].filter((host) => host.backupRoot !== null)
  const [only] = keepers
  if (only === undefined) throw new FleetError('not_found', 'no host keeps backups itself')
  if (keepers.length === 1) return only.name
  throw new FleetError('invalid', 'host: several hosts keep backups; name one of them', { field: 'host' })
}

/** `undefined` means the same as nothing at all. */
function withoutAbsent(change: ChangeTarget): ChangeTarget {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
}

function shown({ secretId: _, ...target }: KeptTarget): TargetInfo {
  return target
}
