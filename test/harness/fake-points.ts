import { randomUUID } from 'node:crypto'
import { type Caller, requireRole, visibleGroup } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { Page, PageRequest } from '../../control-plane/core/page.ts'
import type { CreatePoint, PointInfo, Points, RestorePoint } from '../../control-plane/core/points.ts'
import { mergeSecret } from '../../control-plane/core/target-rules.ts'
import type { TargetInfo, Targets } from '../../control-plane/core/targets.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import { TargetConfig, type TargetSecret } from '../../shared/target-config.ts'
import type { PointFile, TargetEntry } from '../../shared/wire/reads.ts'

/** What a test arranges and looks at. */
export interface FakePointControls {
  readonly points: Map<string, PointInfo>
  readonly targets: Map<string, TargetInfo>
  /** By target's id. */
  readonly secrets: Map<string, TargetSecret>
  readonly created: CreatePoint[]
  readonly restored: RestorePoint[]
  /** Targets on these hosts do not answer. */
  readonly silent: Set<string>
  /** What lies everywhere on every target, and on every host. */
  readonly entries: TargetEntry[]
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }

const AT = new Date('2026-01-02T03:04:05.678Z')
const GROUP_ID = '01900000-0000-7000-8000-000000000000'
const SILENT_HOST = '203.0.113.9'

export function createFakePointControls(): FakePointControls {
  const entries: TargetEntry[] = [
    { name: 'test', kind: 'directory', sizeBytes: 0, modifiedAt: null },
    { name: 'dataset-backup@a', kind: 'directory', sizeBytes: 0, modifiedAt: null, points: ['20260102T030405Z'] },
    { name: 'notes.txt', kind: 'file', sizeBytes: 12, modifiedAt: '2026-01-02T03:04:05.000Z' },
  ]
  return {
    points: new Map(),
    targets: new Map(),
    secrets: new Map(),
    created: [],
    restored: [],
    silent: new Set([SILENT_HOST]),
    entries,
  }
}

export function fakePoint(given: Partial<PointInfo>): PointInfo {
  return {
    id: randomUUID(),
    groupId: GROUP_ID,
    source: { kind: 'dataset', id: GROUP_ID, name: 'a' },
    host: 'host-a',
    target: null,
    series: 'dataset-backup@a',
    name: '20260102T030405Z',
    status: 'good',
    isDeleting: false,
    trashedAt: null,
    isReturning: false,
    pinned: false,
    chain: [],
    fullReason: null,
    synthetic: false,
    storedBytes: 10,
    sourceBytes: 40,
    members: 2,
    problemCount: 0,
    problems: [],
    consistency: 'crash',
    encrypted: false,
    error: null,
    damage: null,
    verifiedAt: null,
    rehearsedAt: null,
    recoverySeconds: null,
    location: '/backups/group/dataset-backup@a/20260102T030405Z',
    jobId: GROUP_ID,
    createdAt: AT,
    finishedAt: AT,
    version: 1,
    ...given,
  }
}

const FILE: PointFile = {
  path: 'etc/passwd',
  type: 'file',
  size: 40,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: '1767323045.000000000',
  sha256: 'a'.repeat(64),
}

function pageOf<Item>(items: readonly Item[], { limit, cursor }: PageRequest): Page<Item> {
  const from = cursor === undefined ? 0 : Number(cursor)
  const next = from + limit
  return { items: items.slice(from, next), nextCursor: next < items.length ? String(next) : null }
}

/** Points that are good as soon as they are asked for. */
export function createFakePoints({ points, targets, created, restored }: FakePointControls, accept: Accept): Points {
  function find(caller: Caller, id: string): PointInfo {
    const point = points.get(id)
    const visible = visibleGroup(caller) === null || point?.groupId === caller.groupId
    if (!point || !visible) throw new FleetError('not_found', `there is no point '${id}'`)
    return point
  }
  function targetOf(id: string | undefined): PointInfo['target'] {
    if (id === undefined) return null
    const target = targets.get(id)
    if (!target) throw new FleetError('not_found', `there is no target '${id}'`, { field: 'target' })
    return { id: target.id, name: target.name }
  }
  const readable = (caller: Caller, id: string, kind: JobKind) => {
    find(caller, id)
    return accept(caller, kind, () => ({}))
  }

  return {
    async create(caller, request) {
      const { source } = request
      const target = targetOf(request.target)
      const made = fakePoint({
        groupId: caller.groupId,
        target,
        location: target ? null : '/backups/x',
        source:
          'dataset' in source
            ? { kind: 'dataset', id: randomUUID(), name: source.dataset }
            : 'instance' in source
              ? { kind: 'instance', id: randomUUID(), type: source.type ?? 'lxc', name: source.instance }
              : 'volume' in source
                ? { kind: 'volume', id: randomUUID(), name: source.volume, snapshot: source.snapshot ?? null }
                : { kind: 'path', path: source.path },
      })
      const { jobId } = accept(caller, 'point.create', () => {
        created.push(request)
        points.set(made.id, made)
      })
      const point = { ...made, jobId, status: 'running' as const, version: 0, finishedAt: null }
      if (points.has(made.id)) points.set(made.id, { ...made, jobId })
      return { point, jobId }
    },
    get: async (caller, id) => find(caller, id),
    async list(caller, { source, target, status }, page) {
      const shown = [...points.values()].filter(
        (point) =>
          (visibleGroup(caller) === null || point.groupId === caller.groupId) &&
          (!status || point.status === status) &&
          (!target || (point.target?.id ?? 'local') === target) &&
          (!source || source === spelled(point)),
      )
      return pageOf(shown.toReversed(), page)
    },
    async pin(caller, id, pinned, ifMatch) {
      const point = find(caller, id)
      requireCondition(ifMatch, point)
      const changed = point.pinned === pinned ? point : { ...point, pinned, version: point.version + 1 }
      points.set(id, changed)
      return changed
    },
    async files(caller, id, { path, search, ...page }) {
      find(caller, id)
      const below = typeof path === 'string' ? path : Buffer.from(path.base64, 'base64').toString()
      const under = [FILE].filter((file) => file.path.startsWith(below) && file.path.includes(search ?? ''))
      return pageOf(under, page)
    },
    async diff(caller, id, other, page) {
      find(caller, id)
      find(caller, other)
      return pageOf([{ kind: 'added', before: null, after: FILE }], page)
    },
    verify: async (caller, id) => readable(caller, id, 'point.verify'),
    rehearse: async (caller, id) => readable(caller, id, 'point.rehearse'),
    async restore(caller, id, request) {
      find(caller, id)
      return accept(caller, 'point.restore', () => void restored.push(request))
    },
    async delete(caller, id, ifMatch) {
      const point = find(caller, id)
      requireCondition(ifMatch, point)
      if (point.pinned) throw new FleetError('conflict', 'the point is pinned')
      const blockers = [...points.values()].filter(({ chain }) => chain.includes(id)).map((other) => other.id)
      if (blockers.length > 0) throw new FleetError('conflict', 'others depend on the point', { blockers })
      return accept(caller, 'point.delete', () => void points.delete(id))
    },
  }
}

export function createFakeTargets({ points, targets, secrets, silent, entries }: FakePointControls): Targets {
  let last = 0

  function find(id: string): TargetInfo {
    const target = targets.get(id) ?? [...targets.values()].find(({ number }) => String(number) === id)
    if (!target) throw new FleetError('not_found', `there is no target '${id}'`)
    return target
  }
  function checked(config: unknown): TargetConfig {
    const parsed = TargetConfig.safeParse(config)
    if (parsed.success) return parsed.data
    const field = parsed.error.issues[0]?.path.join('.') ?? ''
    throw new FleetError('invalid', `${field}: ${parsed.error.issues[0]?.message}`, { field })
  }
  function keep(target: TargetInfo, secret: TargetSecret): TargetInfo {
    const taken = [...targets.values()].some(({ id, name }) => name === target.name && id !== target.id)
    if (taken) throw new FleetError('exists', `there is a target '${target.name}' already`, { field: 'name' })
    const kept = { ...target, hasSecret: Object.keys(secret).length > 0, hasIdentity: secret.identity !== undefined }
    targets.set(kept.id, kept)
    secrets.set(kept.id, secret)
    return kept
  }
  function requireReachable({ config }: TargetInfo): void {
    if (config.protocol === 'local' || !silent.has(config.host)) return
    throw new FleetError('timeout', `target '${config.name}': does not answer`)
  }

  return {
    async create(caller, { config: given, description = '', secret, recipients = [] }) {
      requireRole(caller, 'operator')
      const config = checked(given)
      last += 1
      return keep(
        {
          id: randomUUID(),
          number: last,
          groupId: caller.groupId,
          name: config.name,
          description,
          config,
          hasSecret: false,
          recipients,
          hasIdentity: false,
          createdAt: AT,
          version: 1,
        },
        secret,
      )
    },
    get: async (_caller, id) => find(id),
    list: async (_caller, page) => pageOf([...targets.values()], page),
    async update(caller, id, change, ifMatch) {
      requireRole(caller, 'operator')
      const target = find(id)
      requireCondition(ifMatch, target)
      const { config: given, description, secret, recipients } = typeof change === 'function' ? change(target) : change
      const config = checked(given ?? target.config)
      const changed = {
        ...target,
        config,
        name: config.name,
        description: description ?? target.description,
        recipients: recipients ?? target.recipients,
        version: target.version + 1,
      }
      return keep(changed, mergeSecret(secrets.get(target.id) ?? {}, secret ?? {}))
    },
    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const target = find(id)
      requireCondition(ifMatch, target)
      const blockers = [...points.values()].filter((point) => point.target?.id === target.id).map((point) => point.id)
      if (blockers.length > 0) throw new FleetError('conflict', 'points lie on the target', { blockers })
      targets.delete(target.id)
    },
    async ping(_caller, id) {
      const { config } = find(id)
      const alive = config.protocol === 'local' || !silent.has(config.host)
      return { alive, reason: alive ? null : 'does not answer', freeBytes: alive ? 1_000 : null }
    },
    async browse(_caller, id, _path, page) {
      requireReachable(find(id))
      return pageOf(entries, page)
    },
    async browseLocal(_caller, host, _path, page) {
      if (host !== undefined && host !== 'host-a') throw new FleetError('not_found', `there is no host '${host}'`)
      return pageOf(entries, page)
    },
  }
}

function spelled({ source, host }: PointInfo): string {
  if (source.kind === 'dataset' || source.kind === 'volume') return source.name
  return source.kind === 'path' ? `${host}:${source.path}` : `${source.type}:${source.name}`
}
