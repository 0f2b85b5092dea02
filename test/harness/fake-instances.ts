import { randomUUID } from 'node:crypto'
import { type Caller, requireFleetRole, requireRole, visibleGroup } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { CloneInstance, InstanceInfo, Instances, StopInstance } from '../../control-plane/core/instances.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'

/** What a test arranges and looks at. */
export interface FakeInstanceControls {
  readonly instances: Map<string, InstanceInfo>
  readonly cloned: CloneInstance[]
  readonly stopped: StopInstance[]
}

export function createFakeInstanceControls(): FakeInstanceControls {
  return { instances: new Map(), cloned: [], stopped: [] }
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }

const AT = new Date('2026-01-02T03:04:05.678Z')
const GROUP_ID = '01900000-0000-7000-8000-000000000000'

export function fakeInstance(given: Partial<InstanceInfo> = {}): InstanceInfo {
  return {
    id: randomUUID(),
    groupId: GROUP_ID,
    host: 'host-a',
    type: 'lxc',
    ref: 'web',
    name: 'web',
    state: 'RUNNING',
    mounts: [{ destination: '/data', source: '/srv/data', kind: 'bind', volume: null, readonly: false }],
    configHash: 'hash',
    createdAt: AT,
    seenAt: AT,
    goneAt: null,
    movedTo: null,
    version: 1,
    ...given,
  }
}

/** Instances that are what they are asked to be as soon as they are asked. */
export function createFakeInstances({ instances, cloned, stopped }: FakeInstanceControls, accept: Accept): Instances {
  function find(caller: Caller, id: string): InstanceInfo {
    const instance = instances.get(id)
    const visible = visibleGroup(caller) === null || instance?.groupId === caller.groupId
    if (!instance || !visible) throw new FleetError('not_found', `there is no instance '${id}'`)
    return instance
  }
  function turn(caller: Caller, id: string, state: InstanceInfo['state'], kind: JobKind) {
    requireRole(caller, 'operator')
    const instance = find(caller, id)
    return accept(caller, kind, () => instances.set(id, { ...instance, state, version: instance.version + 1 }))
  }

  return {
    get: async (caller, id) => find(caller, id),
    async list(caller, { type, host, state, name, gone = false }, { limit, cursor }) {
      const shown = [...instances.values()].filter(
        (one) =>
          (visibleGroup(caller) === null || one.groupId === caller.groupId) &&
          (one.goneAt !== null) === gone &&
          (!type || one.type === type) &&
          (!host || one.host === host) &&
          (!state || state.includes(one.state)) &&
          (!name || one.name === name),
      )
      const from = cursor === undefined ? 0 : Number(cursor)
      const next = from + limit
      return { items: shown.slice(from, next), nextCursor: next < shown.length ? String(next) : null }
    },
    async assign(caller, id, group, ifMatch) {
      requireFleetRole(caller, 'admin')
      const instance = find(caller, id)
      requireCondition(ifMatch, instance)
      const changed = { ...instance, groupId: group, version: instance.version + 1 }
      instances.set(id, changed)
      return changed
    },
    async clone(caller, id, request) {
      const source = find(caller, id)
      const taken = [...instances.values()].some(({ name }) => name === request.name)
      if (taken) throw new FleetError('exists', `there is '${request.name}' already`, { field: 'name' })
      const untold = { ref: null, mounts: [], configHash: null, seenAt: null }
      const made = fakeInstance({ groupId: source.groupId, name: request.name, state: 'CREATING', ...untold })
      const { jobId } = accept(caller, 'instance.clone', () => {
        cloned.push(request)
        instances.set(made.id, made)
      })
      return { jobId, instance: made }
    },
    start: async (caller, id) => turn(caller, id, 'RUNNING', 'instance.start'),
    async stop(caller, id, request = {}) {
      stopped.push(request)
      return turn(caller, id, 'STOPPED', 'instance.stop')
    },
  }
}
