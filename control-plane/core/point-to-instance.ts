import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { InstanceName, type InstanceType } from '../../shared/instance-spec.ts'
import { atLeast, type Caller } from './caller.ts'
import { orderNewDataset } from './datasets.ts'
import { choosePool, type FleetView, requireOnline } from './fleet-view.ts'
import { placeOf, usable } from './images.ts'
import type { KeptInstance, PresentInstance } from './instances.ts'
import { requireMadeHere } from './made-here.ts'
import type { Decision, Findings } from './orders.ts'
import { anyInstance, INSTANCE_TAG, type InstanceNames, instanceDatasetNames, instanceTag } from './point-instances.ts'
import type { KeptPoint, PointReader } from './point-orders.ts'
import { type RestoreQuestion, requireReach, requireWhole, restoreSpec } from './point-restore.ts'
import { uuidOf } from './point-series.ts'
import type { InstanceWanted } from './points.ts'
import type { SourceType } from './schedules.ts'

const FIELDS = { instance: 'destination.instance', type: 'destination.type', host: 'destination.host' } as const

/** What is known of an instance to be before its order is decided. */
export interface InstancePlan {
  readonly type: InstanceType
  readonly name: string
  readonly identity: 'keep' | 'new'
  readonly host: string | undefined
  readonly pool: string | undefined
  readonly start: boolean
  /** It goes once the new one is whole. */
  readonly replaced: PresentInstance | undefined
  /** Those that were made for the one that goes. */
  readonly superseded: readonly NamedDataset[]
  /** A dataset that is brought up to date for it, instead of a new one. */
  readonly onto: InstanceWanted['onto']
}

export interface NamedDataset {
  readonly id: string
  readonly name: string
}

/**
 * LXC's containers are root on their host unless their users are mapped, and what lies on a target may be written by whoever has that
 * target: so who makes one of it decides over the host. @throws refused
 */
export function requireRootOnHost(caller: Caller, type: SourceType | InstanceType, field: string): void {
  if (type !== 'lxc' || atLeast(caller.fleetRole, 'operator')) return
  throw new FleetError(
    'refused',
    `a container of LXC made from a target needs the role 'operator' over the whole fleet`,
    {
      field,
    },
  )
}

/** @throws refused, invalid, not_found (host), exists, conflict (several hosts have it). */
export async function planInstance(
  deps: {
    readonly fleet: FleetView
    readonly instances: InstanceNames
    readonly reader: Pick<PointReader, 'datasetsOf'>
  },
  caller: Caller,
  { source, host: madeOn }: Pick<KeptPoint, 'source' | 'host'>,
  wanted: InstanceWanted,
): Promise<InstancePlan> {
  if (source.kind !== 'instance') {
    throw new FleetError('invalid', 'the point is not one of a container; restore it to a dataset', {
      field: FIELDS.instance,
    })
  }
  const { type = source.type, instance, host, pool, start = false, replace = false, onto } = wanted
  if (type !== source.type) {
    throw new FleetError('invalid', `the point is of type '${source.type}' and becomes no other`, {
      field: FIELDS.type,
    })
  }
  requireMadeHere(type, FIELDS.instance)
  requireRootOnHost(caller, type, FIELDS.instance)
  const { groupId } = caller
  const there = await anyInstance(deps, groupId, { instance, type, host }, FIELDS)
  if (there && !replace) {
    throw new FleetError('exists', `there is '${there.name}' on host '${there.host}' already`, {
      field: FIELDS.instance,
    })
  }
  const name = InstanceName.safeParse(there?.name ?? instance)
  if (!name.success) {
    throw new FleetError('invalid', `destination.instance: ${name.error.issues[0]?.message}`, {
      field: FIELDS.instance,
    })
  }
  return {
    ...{ type, name: name.data, pool, start, replaced: there, onto },
    // Who gets the old name takes the old one's place, wherever that was.
    identity: name.data === source.name ? 'keep' : 'new',
    host: host ?? there?.host ?? (pool === undefined ? madeOn : undefined),
    superseded: there ? await deps.reader.datasetsOf(groupId, there) : [],
  }
}

/** Datasets that the decision looks at: those that are superseded, and those whose names may be taken. */
export function namesOf({ name, superseded, onto }: InstancePlan): readonly string[] {
  if (onto) return [onto.dataset]
  return [...new Set([...instanceDatasetNames(name), ...superseded.map((dataset) => dataset.name)])]
}

/** A dataset for it, and it on that. @throws invalid, not_found, unavailable. */
export function intoInstance(question: RestoreQuestion, plan: InstancePlan): Omit<Decision, 'request' | 'interactive'> {
  const { asked, fleet, findings, point, readable, holds } = question
  const { type, name, identity, start, replaced } = plan
  requireWhole(asked, 'an instance')
  if (plan.onto) return ontoDataset(question, plan, plan.onto)
  const pool = choosePool(fleet, { host: plan.host, pool: plan.pool })
  requireReach(point, pool.host.name, FIELDS.host)
  if (replaced) requireSame(findings.instance(replaced.id), replaced)
  const made = orderNewDataset({
    ...{ request: asked, pool, name: freeName(findings, name) },
    tags: { [INSTANCE_TAG]: instanceTag({ type, name }) },
  })
  const superseded = plan.superseded.filter((dataset) => {
    const found = findings.named(dataset.name)
    return found?.id === dataset.id && found.state === 'available'
  })
  const id = replaced?.id ?? newId()
  // Nothing else becomes an instance of that name there meanwhile.
  const named = uuidOf([pool.host.id, type, name])
  const lanes = [named, ...(replaced ? [id] : []), ...superseded.map((dataset) => dataset.id)]
  return {
    create: made.create,
    instance: replaced ? { replace: id } : { create: { id, type, name } },
    ...(superseded.length > 0 ? { supersedes: superseded.map((dataset) => dataset.id) } : {}),
    spec: restoreSpec(readable, asked, {
      kind: 'instance',
      type,
      name,
      identity,
      start,
      place: made.spec.target,
      replace: replaced?.ref ?? null,
      update: null,
    }),
    host: made.host,
    subject: made.subject,
    holds: [...holds, ...lanes.map((lane) => ({ lane, exclusive: true }))],
  }
}

/** On a dataset that holds an earlier point of the chain. @throws not_found, conflict, invalid, unavailable. */
function ontoDataset(
  { asked, fleet, findings, point, readable, holds }: RestoreQuestion,
  { type, name, identity, start }: InstancePlan,
  onto: NonNullable<InstancePlan['onto']>,
): Omit<Decision, 'request' | 'interactive'> {
  const dataset = usable(findings.named(onto.dataset), onto.dataset)
  requireReach(point, dataset.host, FIELDS.host)
  requireOnline(fleet, dataset.host)
  const place = placeOf(dataset)
  const lanes = [uuidOf([dataset.hostId, type, name]), dataset.id]
  return {
    instance: { create: { id: newId(), type, name } },
    spec: restoreSpec(readable, asked, {
      ...{ kind: 'instance', type, name, identity, start, place },
      ...{ replace: null, update: onto.from },
    }),
    host: { id: dataset.hostId, name: dataset.host },
    subject: { id: dataset.id, name: dataset.name },
    holds: [...holds, ...lanes.map((lane) => ({ lane, exclusive: true }))],
  }
}

/** @throws conflict when it went, or was made anew, in this very moment. */
function requireSame(found: KeptInstance | undefined, { ref, host, name }: PresentInstance): void {
  if (found !== undefined && found.goneAt === null && found.ref === ref && found.host === host) return
  throw new FleetError('conflict', `'${name}' has changed in this moment; try again`)
}

function freeName(findings: Findings, name: string): string {
  const free = instanceDatasetNames(name).find((one) => findings.named(one) === undefined)
  return free ?? `${name}-${newId().slice(-8)}`
}
