import { FleetError } from '../../shared/errors.ts'
import type { FleetView } from './fleet-view.ts'
import type { InstanceReader, InstanceWish, PresentInstance } from './instances.ts'

export type InstanceNames = Pick<InstanceReader, 'named'>

/** What a request calls the members that say which instance is meant. */
export type InstanceFields = Readonly<Record<'instance' | 'type' | 'host', string>>

/** The one that is meant. @throws as `anyInstance`; not_found. */
export async function oneInstance(
  deps: InstanceDeps,
  groupId: string,
  wish: InstanceWish,
  fields: InstanceFields,
): Promise<PresentInstance> {
  const found = await anyInstance(deps, groupId, wish, fields)
  if (found) return found
  const where = wish.host === undefined ? '' : ` on host '${wish.host}'`
  throw new FleetError(
    'not_found',
    `there is no ${wish.type === undefined ? '' : `${wish.type} `}container '${wish.instance}'${where}`,
    {
      field: fields.instance,
    },
  )
}

interface InstanceDeps {
  readonly fleet: Pick<FleetView, 'knows'>
  readonly instances: InstanceNames
}

/**
 * The one that is meant, if there is one.
 * @throws not_found (host); conflict when several hosts have it, or it is there in several types: `blockers` names those.
 */
export async function anyInstance(
  { fleet, instances }: InstanceDeps,
  groupId: string,
  wish: InstanceWish,
  fields: InstanceFields,
): Promise<PresentInstance | undefined> {
  const { host, instance } = wish
  if (host !== undefined && !fleet.knows(host)) {
    throw new FleetError('not_found', `there is no host '${host}'`, { field: fields.host })
  }
  const found = await instances.named(groupId, wish)
  const hosts = [...new Set(found.map((one) => one.host))].toSorted()
  if (hosts.length > 1) {
    throw new FleetError(
      'conflict',
      `several hosts have '${instance}': ${hosts.join(', ')}; name one of them as host`,
      {
        field: fields.host,
        blockers: hosts,
      },
    )
  }
  const types = [...new Set(found.map((one) => one.type))].toSorted()
  if (types.length > 1) {
    throw new FleetError('conflict', `'${instance}' is there as ${types.join(' and as ')}; name the type`, {
      field: fields.type,
      blockers: types,
    })
  }
  // What its agent calls it goes before a name that reads the same.
  return found.find(({ ref }) => ref === instance) ?? found[0]
}

/** Says of a dataset that it was made for an instance, and for which. */
export const INSTANCE_TAG = 'holdfast.instance'

export function instanceTag({ type, name }: Pick<PresentInstance, 'type' | 'name'>): string {
  return `${type}:${name}`
}

/** As many datasets as may be called after one instance, before chance has to help. */
const NUMBERED = 9

/** What the dataset of an instance may be called, best first. */
export function instanceDatasetNames(name: string): readonly string[] {
  return Array.from({ length: NUMBERED }, (_, n) => (n === 0 ? name : `${name}-${n + 1}`))
}
