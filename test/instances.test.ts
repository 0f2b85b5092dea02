import test, { type ExecutionContext } from 'ava'
import { createInstanceFoldStore } from '../control-plane/db/stores/instance-fold-store.ts'
import { createInstanceStore } from '../control-plane/db/stores/instance-store.ts'
import { createHostReads } from '../control-plane/hosts/host-reads.ts'
import { createInstanceWatch } from '../control-plane/hosts/instance-watch.ts'
import { createHostSeal } from '../control-plane/secrets/host-seal.ts'
import type { ReportedInstance } from '../shared/instance-spec.ts'
import { createLogger } from '../shared/logger.ts'
import type { ListedType } from '../shared/wire/reads.ts'
import { ADMIN, OPERATOR, openPointRoom, type PointRoom } from './harness/point-room.ts'

const logger = createLogger('test', 'silent')
const PAGE = { limit: 100 }

function lxc(name: string, rest: Partial<ReportedInstance> = {}): ReportedInstance {
  return { type: 'lxc', instance: name, name, state: 'RUNNING', configHash: 'a', mounts: [], ...rest }
}

/** What the agent of host `a` would tell, and replicas that hear its beats. */
async function openHost(t: ExecutionContext) {
  const told = {
    items: [lxc('web'), lxc('db')],
    hash: 'h1',
    ageMs: 0,
    types: [{ type: 'lxc', listed: true, problem: null }] as ListedType[],
    asked: 0,
    next: null as string | null,
  }
  const answering = await room.answers('a', 'instances', () => {
    told.asked += 1
    const { items, hash, ageMs, types, next } = told
    return { ok: true, body: { items, hash, ageMs, types, next } }
  })
  t.teardown(() => {
    answering.unsubscribe()
    return room.nats.flush()
  })
  let nowMs = Date.now()
  const replica = () =>
    createInstanceWatch({
      reads: createHostReads({ nats: room.nats, seal: createHostSeal(room.hosts.sealKey) }),
      store: createInstanceFoldStore(room.sql),
      logger,
      now: () => nowMs,
    })
  const watches = [replica(), replica()]
  return {
    told,
    /** Every replica hears it. */
    async beat({ serves = true } = {}) {
      nowMs += 60_000
      for (const watch of watches) watch.heard('a', serves ? told.hash : undefined)
      await Promise.all(watches.map((watch) => watch.idle()))
    },
    /** A host that could not be read is left alone for a while. */
    patience: () => room.db.query(`update instance_list set asked_at = asked_at - interval '30 seconds'`),
    async tell(items: readonly ReportedInstance[]) {
      told.items = [...items]
      told.hash += '+'
      await this.beat()
    },
    async named(name: string) {
      const [found] = (await room.instances.list(ADMIN, { name }, PAGE)).items
      if (found === undefined) throw new Error(`there is no instance ${name}`)
      return found
    },
  }
}

const cleanUps: (() => unknown)[] = []
let room: PointRoom
test.before(async () => {
  room = await openPointRoom({ teardown: (act) => void cleanUps.push(act) })
})
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})

/** As if the host had never told of any: Postgres and NATS take longer to start than all these tests together. */
async function opened(t: ExecutionContext) {
  await room.db.query('delete from instance')
  await room.db.query('delete from instance_list')
  room.registry.heard('a')
  const host = await openHost(t)
  await host.beat()
  return host
}

/** @returns its id, and what clients know it by */
async function newGroup(name: string) {
  const group = await room.group(name)
  const [row] = await room.db.query('select document_id from user_group where id = $1', [group])
  return { group, documentId: String(row.document_id), tenant: room.tenant(group) }
}

test.serial(
  'what a host tells is folded once, whoever of two replicas asks, and nothing is asked while nothing changes',
  async (t) => {
    const host = await opened(t)
    const first = await room.instances.list(ADMIN, {}, PAGE)
    t.deepEqual(
      first.items.map(({ name, host: on, state, ref, groupId }) => [name, on, state, ref, groupId]),
      [
        ['db', 'a', 'RUNNING', 'db', room.groupId],
        ['web', 'a', 'RUNNING', 'web', room.groupId],
      ],
    )
    t.is(host.told.asked, 1)
    await host.beat()
    await host.beat()
    t.is(host.told.asked, 1)
    // Its state is all that is new.
    await host.tell([lxc('web', { state: 'STOPPED' }), lxc('db')])
    t.is(host.told.asked, 2)
    t.like(await host.named('web'), { state: 'STOPPED', version: 2 })
    t.like(await host.named('db'), { version: 1 })
  },
)

test.serial('what vanishes is gone and comes back as what it was; tools that fail take nothing away', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  await host.tell([lxc('db')])
  t.like(await room.instances.get(ADMIN, web.id), {
    name: 'web',
    goneAt: (await room.instances.get(ADMIN, web.id)).goneAt,
  })
  t.truthy((await room.instances.get(ADMIN, web.id)).goneAt)
  t.deepEqual(
    (await room.instances.list(ADMIN, { gone: true }, PAGE)).items.map(({ id }) => id),
    [web.id],
  )
  await host.tell([lxc('db'), lxc('web')])
  t.like(await host.named('web'), { id: web.id, goneAt: null, createdAt: web.createdAt })

  host.told.types = [{ type: 'lxc', listed: false, problem: 'unavailable: no tools' }]
  await host.tell([])
  t.is((await room.instances.list(ADMIN, {}, PAGE)).items.length, 2)
  t.deepEqual((await room.hosts.find('a'))?.instanceProblems, [{ type: 'lxc', message: 'unavailable: no tools' }])
  // It serves none any more: that is told, and nothing is gone.
  await host.beat({ serves: false })
  t.is((await room.instances.list(ADMIN, {}, PAGE)).items.length, 2)
  t.regex((await room.hosts.find('a'))?.instanceProblems[0]?.message ?? '', /serves none/)
})

test.serial('instances are those of one group; only admins of the fleet hand them over', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const { group, documentId, tenant } = await newGroup('group-1')
  await t.throwsAsync(room.instances.get(tenant, web.id), { message: /no instance/ })
  await t.throwsAsync(room.instances.start(tenant, web.id), { message: /no instance/ })
  await t.throwsAsync(room.instances.assign(OPERATOR, web.id, documentId), { message: /whole fleet/ })
  await t.throwsAsync(room.instances.assign(ADMIN, web.id, 'nobody'), { message: /no group/ })
  await t.throwsAsync(
    room.instances.assign(ADMIN, web.id, documentId, () => false),
    { message: /has changed/ },
  )
  t.like(await room.instances.assign(ADMIN, web.id, documentId), { groupId: group, version: 2 })
  t.like(await room.instances.get(tenant, web.id), { name: 'web' })
  await t.throwsAsync(room.instances.get(OPERATOR, web.id), { message: /no instance/ })
  t.deepEqual(
    (await room.instances.list(tenant, {}, PAGE)).items.map(({ name }) => name),
    ['web'],
  )
  const names = createInstanceStore(room.sql)
  t.deepEqual((await names.named(room.groupId, { instance: 'web' })).length, 0)
  t.like(await names.named(group, { instance: 'web', type: 'lxc', host: 'a' }), [{ id: web.id, ref: 'web' }])
  // It stays theirs, whatever becomes of it.
  await host.tell([])
  await host.tell([lxc('web', { state: 'STOPPED' })])
  t.like(await room.instances.get(tenant, web.id), { state: 'STOPPED', goneAt: null })
  const viewer = { ...tenant, role: 'viewer' as const }
  await t.throwsAsync(room.instances.start(viewer, web.id), { message: /operator/ })
})

test.serial("what is made by hand under a name of long ago is nobody's: it belongs to the default group", async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const { documentId, tenant } = await newGroup('group-of-web')
  await room.instances.assign(ADMIN, web.id, documentId)
  await host.tell([])
  await room.db.query("update instance set gone_at = now() - interval '25 hours' where id = $1", [web.id])
  await host.tell([lxc('web', { configHash: 'by hand' })])
  const made = await host.named('web')
  t.not(made.id, web.id)
  t.like(made, { groupId: room.groupId, goneAt: null })
  t.deepEqual((await room.instances.list(tenant, {}, PAGE)).items, [])
  t.truthy((await room.instances.get(tenant, web.id)).goneAt)
  // It came and went; the one of before is back as it was.
  await host.tell([])
  await room.db.query("update instance set gone_at = now() - interval '26 hours' where id = $1", [made.id])
  await room.db.query("update instance set gone_at = now() - interval '25 hours' where id = $1", [web.id])
  await host.tell([lxc('web')])
  t.like(await room.instances.get(tenant, web.id), { goneAt: null })
})

test.serial(
  'one is started and stopped alone, and is so when its job has ended, whatever was listed before',
  async (t) => {
    const host = await opened(t)
    const web = await host.named('web')
    const { jobId } = await room.instances.stop(OPERATOR, web.id, { graceMs: 5 })
    const order = await room.sent(jobId)
    const place = { type: 'lxc', instance: 'web' }
    t.deepEqual(order.spec, { kind: 'instance.stop', place, instanceId: web.id, graceMs: 5 })
    const next = await room.instances.start(OPERATOR, web.id)
    t.like(await room.jobs.get(OPERATOR, next.jobId), { state: 'queued' })
    await room.succeed(jobId)
    t.like(await room.instances.get(OPERATOR, web.id), { state: 'STOPPED' })
    // A list that was taken before the job had ended: it may say so or not.
    host.told.ageMs = 60_000
    await host.tell([lxc('web'), lxc('db')])
    t.like(await room.instances.get(OPERATOR, web.id), { state: 'STOPPED' })
    host.told.ageMs = 0
    await host.beat()
    t.like(await room.instances.get(OPERATOR, web.id), { state: 'RUNNING' })
    await room.sent(next.jobId)
    await room.fail(next.jobId, { code: 'conflict', message: 'the container is frozen' })
    const again = await room.jobs.retry(OPERATOR, next.jobId)
    t.like(again, { kind: 'instance.start', retryOf: next.jobId })
    const [{ object_kind: kind, object_id: id }] = await room.db.query('select * from audit where job_id = $1', [jobId])
    t.deepEqual([kind, id], ['instance', web.id])
  },
)

test.serial('nothing is ordered of one that is gone, is being made, or whose host is offline', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const clone = await room.instances.clone(OPERATOR, web.id, { name: 'half' })
  await t.throwsAsync(room.instances.start(OPERATOR, clone.instance.id), { message: /being made/ })
  await host.tell([lxc('db')])
  await t.throwsAsync(room.instances.start(OPERATOR, web.id), { message: /no more/ })
  await t.throwsAsync(room.instances.clone(OPERATOR, web.id, { name: 'web3' }), { message: /no more/ })
  room.registry.deaf('a')
  const db = await host.named('db')
  await t.throwsAsync(room.instances.stop(OPERATOR, db.id), { message: /offline/ })
})

const MADE = {
  rootInode: 257,
  mountpoint: '/pool/web2',
  atomic: true,
  cow: true,
  made: { instance: 'web2', dropped: [] },
}

test.serial("a clone is its group's from the start, has a dataset of its name, and is told by its job", async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const { group, documentId, tenant } = await newGroup('group-2')
  await room.instances.assign(ADMIN, web.id, documentId)
  const { jobId, instance } = await room.instances.clone(ADMIN, web.id, { name: 'web2', start: true, hold: 'none' })
  t.like(instance, { name: 'web2', state: 'CREATING', ref: null, groupId: group, host: 'a' })
  const { spec } = await room.sent(jobId)
  t.like(spec, {
    kind: 'instance.clone',
    source: { type: 'lxc', instance: 'web' },
    name: 'web2',
    hold: 'none',
    start: true,
  })
  // Listed while its job still runs: it is not taken for a new one.
  await host.tell([lxc('web'), lxc('db'), lxc('web2')])
  t.is((await room.instances.list(ADMIN, {}, PAGE)).items.length, 3)
  t.like(await room.instances.get(ADMIN, instance.id), { state: 'CREATING' })
  await room.succeed(jobId, MADE)
  t.like(await room.instances.get(tenant, instance.id), { ref: 'web2', state: 'RUNNING', groupId: group })
  const datasets = await room.db.query('select state, tags from dataset where group_id = $1 and not ordinal = 0', [
    group,
  ])
  t.deepEqual(datasets, [{ state: 'available', tags: { 'holdfast.instance': 'lxc:web2' } }])
  await host.beat()
  t.like(await room.instances.get(ADMIN, instance.id), { configHash: 'a', goneAt: null })
  t.is((await room.instances.list(ADMIN, {}, PAGE)).items.length, 3)
})

test.serial('of a clone that fails nothing is left, and it is tried again; a name is given once', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const { jobId, instance } = await room.instances.clone(OPERATOR, web.id, { name: 'web2' })
  for (const name of ['web2', 'db']) {
    await t.throwsAsync(room.instances.clone(OPERATOR, web.id, { name }), { message: /already/ }, name)
  }
  await room.dataset('taken')
  await t.throwsAsync(room.instances.clone(OPERATOR, web.id, { name: 'taken' }), { message: /'taken' exists already/ })
  await t.throwsAsync(room.instances.clone(OPERATOR, web.id, { name: '../x' }), { message: /letters/ })
  await t.throwsAsync(room.instances.clone(OPERATOR, web.id, { name: 'web4', pool: 'b-pool' }), { message: /no pool/ })
  await room.fail(jobId, { code: 'no_space', message: 'full' })
  await t.throwsAsync(room.instances.get(OPERATOR, instance.id), { message: /no instance/ })
  await t.throwsAsync(room.datasets.get(OPERATOR, 'web2'), { message: /no dataset/ })
  const again = await room.jobs.retry(OPERATOR, jobId)
  await room.succeed(again.id, MADE)
  t.like(await host.named('web2'), { state: 'STOPPED' })
  // One refused order among several that come together refuses no other.
  const names = ['web2', 'web5', 'db', 'web6']
  const orders = await Promise.allSettled(names.map((name) => room.instances.clone(OPERATOR, web.id, { name })))
  t.deepEqual(
    orders.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
  )
})

test.serial('an agent that calls what it made by the name of another instance takes that from nobody', async (t) => {
  const host = await opened(t)
  const [web, db] = [await host.named('web'), await host.named('db')]
  const { jobId, instance } = await room.instances.clone(OPERATOR, web.id, { name: 'liar' })
  await room.succeed(jobId, { ...MADE, made: { instance: 'db', dropped: [] } })
  t.like(await room.instances.get(OPERATOR, db.id), { ref: 'db', name: 'db', version: db.version })
  await t.throwsAsync(room.instances.get(OPERATOR, instance.id), { message: /no instance/ })
})

test.serial('one that was listed under another name before its job had ended is what the job made', async (t) => {
  const host = await opened(t)
  const engine = (id: string, name: string) => lxc(name, { type: 'docker', instance: id })
  host.told.types = [{ type: 'docker', listed: true, problem: null }]
  await host.tell([engine('aaa', 'app')])
  const app = await host.named('app')
  const { jobId, instance } = await room.instances.clone(OPERATOR, app.id, { name: 'app2' })
  await host.tell([engine('aaa', 'app'), engine('bbb', 'on-its-way')])
  t.like(await host.named('on-its-way'), { ref: 'bbb' })
  await room.succeed(jobId, { ...MADE, made: { instance: 'bbb', dropped: [] } })
  t.like(await room.instances.get(OPERATOR, instance.id), { ref: 'bbb', name: 'app2' })
  await host.tell([engine('aaa', 'app'), engine('bbb', 'app2')])
  t.deepEqual(
    (await room.instances.list(ADMIN, { type: 'docker' }, PAGE)).items.map(({ id }) => id).toSorted(),
    [app.id, instance.id].toSorted(),
  )
})

test.serial('a host that tells a list without an end, or more than it may have, changes nothing', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  host.told.next = 'h1.500'
  await host.tell([lxc('web', { state: 'STOPPED' })])
  await host.patience()
  host.told.next = null
  host.told.items = Array.from({ length: 1_001 }, (_, n) => lxc(`c${n}`))
  await host.beat()
  t.deepEqual(await room.instances.get(ADMIN, web.id), web)
  t.is((await room.instances.list(ADMIN, {}, PAGE)).items.length, 2)
  // What Postgres would not take is not told to it.
  await host.patience()
  await host.tell([lxc('web', { name: 'w\0b' }), lxc('n\0l')])
  const { items } = await room.instances.list(ADMIN, {}, PAGE)
  t.deepEqual(
    items.map(({ name }) => name),
    ['w\uFFFDb'],
  )
})

test.serial('a removed host takes its instances with it, and a group with instances stays', async (t) => {
  const host = await opened(t)
  const web = await host.named('web')
  const { documentId } = await newGroup('group-3')
  await room.instances.assign(ADMIN, web.id, documentId)
  const error = await t.throwsAsync(room.groups().delete(ADMIN, documentId))
  t.like(error, { blockers: ['instance web'] })
  const found = await room.hosts.find('a')
  if (found === undefined) throw new Error('host a is there')
  await room.removal().mark(ADMIN, found, { force: true })
  await room.removal().clear()
  await t.throwsAsync(room.instances.get(ADMIN, web.id), { message: /no instance/ })
  await room.groups().delete(ADMIN, documentId)
})
