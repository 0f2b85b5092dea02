import test from 'ava'
import { FleetError } from '../shared/errors.ts'
import { openSealed } from '../shared/sealed-box.ts'
import type { TargetSecret } from '../shared/target-config.ts'
import { ADMIN, newAgeKeys, OPERATOR, openPointRoom, type PointRoom } from './harness/point-room.ts'
import { until } from './harness/until.ts'

const DAV = { name: 'nas', protocol: 'webdav', host: 'nas.test', port: 443, encrypt: true, base: '/b', username: 'u' }
const SFTP = { name: 'ssh', protocol: 'sftp', host: 'ssh.test', username: 'u' }
const HOST_KEY = `ssh-ed25519 SHA256:${'A'.repeat(43)}`
const OTHER_KEY = `ssh-ed25519 SHA256:${'B'.repeat(43)}`
const invalid = (field: string) => ({ instanceOf: FleetError, code: 'invalid', message: new RegExp(`^${field}`) })

async function everything(room: PointRoom): Promise<string> {
  const tables = await room.db.query(
    `select table_name as name from information_schema.tables where table_schema = 'public'`,
  )
  const texts = await Promise.all(
    tables.map(({ name }: { name: string }) => room.db.query(`select row_to_json(x)::text as row from "${name}" x`)),
  )
  return texts
    .flat()
    .map(({ row }: { row: string }) => row)
    .join('\n')
}

test.serial('a target is kept with its secret sealed, by its id and by its number, for its group alone', async (t) => {
  const room = await openPointRoom(t)
  const password = room.unguessable()
  const target = await room.targets.create(OPERATOR, { config: DAV, secret: { password } })
  t.like(target, {
    name: 'nas',
    number: 1,
    description: '',
    hasSecret: true,
    recipients: [],
    hasIdentity: false,
    version: 1,
  })
  t.false('secretId' in target)
  for (const id of [target.id, '1']) t.deepEqual(await room.targets.get(OPERATOR, id), target)
  const kept = await everything(room)
  t.false(kept.includes(password) || kept.includes(Buffer.from(password).toString('base64')))
  t.false(kept.includes(Buffer.from(password).toString('hex')))
  await t.throwsAsync(room.targets.create(OPERATOR, { config: DAV, secret: {} }), { code: 'exists' })
  const { config, ...rest } = { config: { ...DAV, name: 'open' }, secret: {} }
  t.like(await room.targets.create(OPERATOR, { config, ...rest }), { number: 3, hasSecret: false })
  t.deepEqual(
    (await room.targets.list(OPERATOR, { limit: 1, cursor: '1' })).items.map(({ name }) => name),
    ['open'],
  )
  const other = room.tenant(await room.group('other'))
  for (const id of [target.id, '1', 'nonsense']) await t.throwsAsync(room.targets.get(other, id), { code: 'not_found' })
  t.deepEqual((await room.targets.list(other, { limit: 9 })).items, [])
  await t.notThrowsAsync(room.targets.create(other, { config: DAV, secret: {} }))
  await t.throwsAsync(room.targets.create({ ...OPERATOR, role: 'viewer' }, { config: DAV, secret: {} }), {
    code: 'forbidden',
  })
  const audited = await room.db.query(`select object_name from audit where operation = 'target.create'`)
  t.is(audited.length, 3)
})

test.serial('what cannot be meant is refused by its field, and never repeated', async (t) => {
  const room = await openPointRoom(t)
  const { recipient, identity } = newAgeKeys()
  const create = (request: object) => room.targets.create(OPERATOR, { config: DAV, secret: {}, ...request })
  await t.throwsAsync(create({ config: { ...DAV, host: 'a/b' } }), invalid('config.host'))
  await t.throwsAsync(create({ config: { ...DAV, base: '/a/../b' } }), invalid('config.base'))
  await t.throwsAsync(create({ config: { ...DAV, username: 'a\0b' } }), invalid('username'))
  await t.throwsAsync(create({ config: { name: 'l', protocol: 'local', base: '/' } }), invalid('config.protocol'))
  await t.throwsAsync(
    create({ config: { ...DAV, limits: { timezone: 'No/Where' } } }),
    invalid('config.limits.timezone'),
  )
  await t.throwsAsync(create({ config: null }), invalid('config'))
  await t.throwsAsync(create({ recipients: ['age1nonsense'] }), invalid('recipients.0'))
  const leak = await t.throwsAsync<FleetError>(create({ recipients: [identity] }), invalid('recipients.0'))
  t.false(leak?.message.includes(identity))
  await t.throwsAsync(create({ secret: { identity: recipient } }), invalid('secret.identity'))
  const foreign = { recipients: [recipient], secret: { identity: newAgeKeys().identity } }
  await t.throwsAsync(create(foreign), invalid('secret.identity'))
  t.like(await create({ recipients: [recipient], secret: { identity } }), { hasIdentity: true, hasSecret: true })
})

test.serial('a change keeps what it does not name, and of a secret every other member', async (t) => {
  const room = await openPointRoom(t)
  const { recipient, identity } = newAgeKeys()
  const secret: TargetSecret = { password: 'one', identity }
  const { id, version } = await room.targets.create(OPERATOR, { config: DAV, secret, recipients: [recipient] })
  const opened = async () => {
    const [{ secret_id }] = await room.db.query('select secret_id from target where id = $1', [id])
    return secret_id && JSON.parse((await room.secrets.open(secret_id)).toString())
  }
  const changed = await room.targets.update(OPERATOR, id, { description: 'attic', secret: { password: 'two' } })
  t.like(changed, { description: 'attic', hasIdentity: true, recipients: [recipient], version: version + 1 })
  t.deepEqual(await opened(), { password: 'two', identity })
  await t.throwsAsync(
    room.targets.update(OPERATOR, id, { description: '' }, (current) => current.version === version),
    { code: 'stale' },
  )
  await t.throwsAsync(
    room.targets.update(OPERATOR, id, { recipients: [newAgeKeys().recipient] }),
    invalid('secret.identity'),
  )
  t.like(await room.targets.update(OPERATOR, id, { secret: { identity: '' } }), { hasIdentity: false, hasSecret: true })
  t.deepEqual(await opened(), { password: 'two' })
  t.like(await room.targets.update(OPERATOR, id, { secret: { password: '' } }), { hasSecret: false })
  t.is((await room.db.query('select 1 from secret')).length, 0)
  await room.targets.create(OPERATOR, { config: { ...DAV, name: 'other' }, secret: {} })
  await t.throwsAsync(room.targets.update(OPERATOR, id, { config: { ...DAV, name: 'other' } }), { code: 'exists' })
  const [{ detail }] = await room.db.query(
    `select detail from audit where operation = 'target.update' order by ordinal limit 1`,
  )
  t.deepEqual(detail, { fields: ['description', 'secret'] })
})

test.serial('a kept secret follows an operator to no other server, and onto no open line', async (t) => {
  const room = await openPointRoom(t)
  const secure = { ...DAV, encrypt: true, port: 443 }
  const { id } = await room.targets.create(OPERATOR, { config: secure, secret: { password: 'one' } })
  const update = (config: object, secret?: TargetSecret) =>
    room.targets.update(OPERATOR, id, { config: { ...secure, ...config }, secret })
  const s3 = { protocol: 's3', bucket: 'backups', accessKeyId: 'u' }
  for (const elsewhere of [{ host: 'evil.test' }, { port: 8443 }, { encrypt: false }, s3]) {
    await t.throwsAsync(update(elsewhere), invalid('secret.password'))
    await t.throwsAsync(update(elsewhere, { privateKey: 'k' }), invalid('secret.password'))
  }
  const byAdmin = await room.targets.update(ADMIN, id, { config: { ...secure, port: 8443 } })
  t.like(await room.targets.update(ADMIN, id, { config: secure }), { hasSecret: byAdmin.hasSecret })
  t.like(await update({ base: '/elsewhere', username: 'other', host: secure.host.toUpperCase() }), { hasSecret: true })
  t.like(await update({ host: 'new.test' }, { password: 'two' }), { hasSecret: true })
  t.like(await update({ host: 'newer.test' }, { password: '' }), { hasSecret: false })
  t.like(await update({ host: 'newest.test' }), { config: { host: 'newest.test' } })
})

test.serial('an SFTP target is known by the host key of its first contact, until it is another server', async (t) => {
  const room = await openPointRoom(t)
  room.registry.deaf('b')
  room.registry.deaf('bare')
  await t.throwsAsync(room.targets.create(OPERATOR, { config: SFTP, secret: {} }), { code: 'unavailable' })
  let shownKey = HOST_KEY
  await room.answers('a', 'target-host-key', () => ({ ok: true, body: { hostKey: shownKey } }))
  const { id, config } = await room.targets.create(OPERATOR, { config: SFTP, secret: {} })
  t.like(config, { hostKey: HOST_KEY, port: 22 })
  shownKey = OTHER_KEY
  const update = async (changed: object) =>
    (await room.targets.update(OPERATOR, id, { config: { ...SFTP, ...changed } })).config
  t.like(await update({ base: '/elsewhere' }), { hostKey: HOST_KEY })
  t.like(await update({ host: 'SSH.test' }), { hostKey: HOST_KEY })
  t.like(await update({ port: 2222 }), { hostKey: OTHER_KEY })
  t.like(await update({ port: 2222, hostKey: HOST_KEY }), { hostKey: HOST_KEY })
  for (const name of ['a']) room.registry.deaf(name)
  await t.throwsAsync(update({ port: 22 }), { code: 'unavailable' })
})

test.serial('a target goes when no point lies there', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { id } = await room.targets.create(OPERATOR, { config: DAV, secret: { password: 'p' } })
  const point = await room.point('x', { target: id })
  const error = await t.throwsAsync<FleetError>(room.targets.delete(OPERATOR, id), { code: 'conflict' })
  t.deepEqual(error?.blockers, [point.id])
  t.like(await room.points.get(ADMIN, point.id), { target: { id, name: 'nas' }, location: null })
  await room.succeed((await room.points.delete(ADMIN, point.id)).jobId)
  await t.throwsAsync(
    room.targets.delete(OPERATOR, id, () => false),
    { code: 'stale' },
  )
  await room.targets.delete(OPERATOR, id)
  t.is((await room.db.query('select 1 from secret')).length, 0)
  await t.throwsAsync(room.targets.get(OPERATOR, id), { code: 'not_found' })
})

test.serial('an order carries the secret of its target sealed for its host, however it is sent', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const password = room.unguessable()
  const { id } = await room.targets.create(OPERATOR, { config: DAV, secret: { password } })
  const open = (jobId: string, sealed = '') =>
    JSON.parse(openSealed(room.keys.privateKey, Buffer.from(sealed, 'base64'), `order/${jobId}`).toString())
  const [first, queued] = [
    await room.points.create(ADMIN, { source: { dataset: 'x' }, target: id }),
    await room.points.create(ADMIN, { source: { dataset: 'x' }, target: id }),
  ]
  t.deepEqual(open(first.jobId, (await room.sent(first.jobId)).secret), { password })
  await room.db.query(`update job set heard_at = now() - interval '1 hour' where id = $1`, [first.jobId])
  await room.dispatch.sweep()
  await until('it is sent again', () => room.sentTo('a').filter(({ jobId }) => jobId === first.jobId).length > 1)
  for (const order of room.sentTo('a').filter(({ jobId }) => jobId === first.jobId))
    t.deepEqual(open(first.jobId, order.secret), { password })
  await room.fail(first.jobId, { code: 'internal', message: 'x' })
  t.deepEqual(open(queued.jobId, (await room.sent(queued.jobId)).secret), { password })
  t.false((await everything(room)).includes(password))
})

test.serial('an order whose secret cannot be sent fails, and says so', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  await room.dataset('y', 'bare')
  const { id } = await room.targets.create(OPERATOR, { config: DAV, secret: { password: 'p' } })
  const ended = (jobId: string) =>
    until('it has failed', async () => {
      const job = await room.jobs.get(ADMIN, jobId)
      return job.state === 'failed' ? job : undefined
    })
  const unsealable = await room.points.create(ADMIN, { source: { dataset: 'y' }, target: id })
  t.like((await ended(unsealable.jobId)).error, { code: 'refused' })
  t.like(await room.points.get(ADMIN, unsealable.point.id), { status: 'failed', error: { code: 'refused' } })

  await room.db.query(`update secret set sealed = overlay(sealed placing '\\x00' from length(sealed))`)
  const unopenable = await room.points.create(ADMIN, { source: { dataset: 'x' }, target: id })
  t.like((await ended(unopenable.jobId)).error, { code: 'refused' })
  t.deepEqual(
    room.sentTo('a').filter(({ jobId }) => jobId === unopenable.jobId),
    [],
  )
  t.is((await room.db.query('select 1 from lane_hold')).length, 0)
})

test.serial('questions reach an agent with the secret sealed, and its answers and refusals come back', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { id } = await room.targets.create(OPERATOR, { config: DAV, secret: { password: 'p' } })
  const base = await room.point('x', { target: id })
  const point = await room.point('x', { target: id, incremental: true })
  const file = { path: 'a', type: 'file', size: 1, mode: 420, uid: 0, gid: 0, mtime: '0.000000000' }
  const asked: unknown[] = []
  await room.answers('a', 'point-files', (question) => {
    const sealed = Buffer.from(question.secret ?? '', 'base64')
    asked.push(question.body, JSON.parse(openSealed(room.keys.privateKey, sealed, `read/${question.id}`).toString()))
    return { ok: true, body: { items: [file], next: 'further' } }
  })
  const page = await room.points.files(ADMIN, point.id, { path: '/etc/', limit: 5 })
  t.deepEqual(page, { items: [file], nextCursor: 'further' })
  t.like(asked[0], { path: 'etc', limit: 5, point: { chain: [{ id: base.id }, { id: point.id, name: point.name }] } })
  t.deepEqual(asked[1], { password: 'p' })

  await room.answers('a', 'point-diff', () => ({
    ok: false,
    error: { code: 'invalid', message: 'cursor', field: 'cursor' },
  }))
  await t.throwsAsync(room.points.diff(ADMIN, base.id, point.id, { limit: 5, cursor: 'x' }), invalid('cursor'))
  const local = await room.point('x')
  await room.dataset('far', 'b')
  const elsewhere = await room.points.create(ADMIN, { source: { dataset: 'far' } })
  await room.succeed(elsewhere.jobId, (await room.jobs.get(ADMIN, local.jobId)).result)
  await t.throwsAsync(room.points.diff(ADMIN, local.id, elsewhere.point.id, { limit: 5 }), { code: 'invalid' })

  await room.answers('a', 'target-list', () => ({ ok: true, body: { items: 'none' } }))
  await t.throwsAsync(room.targets.browse(OPERATOR, id, '', { limit: 5 }), { code: 'internal' })
  await t.throwsAsync(room.targets.browse(OPERATOR, id, '../..', { limit: 5 }), { code: 'invalid' })
  await t.throwsAsync(room.targets.browseLocal(OPERATOR, undefined, '', { limit: 5 }), { code: 'invalid' })
  await t.throwsAsync(room.targets.browseLocal(OPERATOR, 'bare', '', { limit: 5 }), { code: 'not_found' })
  await t.throwsAsync(room.targets.ping(OPERATOR, id), { code: 'unavailable' })
  await room.answers('a', 'target-ping', () => ({ ok: false, error: { code: 'refused', message: 'not there' } }))
  t.deepEqual(await room.targets.ping(OPERATOR, id), { alive: false, reason: 'not there', freeBytes: null })
  for (const name of ['a', 'b', 'bare']) room.registry.deaf(name)
  await t.throwsAsync(room.targets.ping(OPERATOR, id), { code: 'unavailable' })
})

test.serial('a group keeps its targets and points from being forgotten with it', async (t) => {
  const room = await openPointRoom(t)
  const tenant = room.tenant(await room.group('red'))
  const { id } = await room.targets.create(tenant, { config: DAV, secret: { password: 'p' } })
  const groups = room.groups()
  const [{ document_id: documentId }] = await room.db.query('select document_id from user_group where id = $1', [
    tenant.groupId,
  ])
  const error = await t.throwsAsync<FleetError>(groups.delete(ADMIN, documentId), { code: 'conflict' })
  t.deepEqual(error?.blockers, ['target nas'])
  await room.targets.delete(tenant, id)
  await groups.delete(ADMIN, documentId)
  t.is((await room.db.query('select 1 from user_group where id = $1', [tenant.groupId])).length, 0)
})

test.serial(
  'a host is not removed while points lie on it, unless they are given up; those on targets stay',
  async (t) => {
    const room = await openPointRoom(t)
    await room.dataset('x')
    const { id } = await room.targets.create(OPERATOR, { config: DAV, secret: { password: 'p' } })
    const local = await room.point('x')
    const increment = await room.point('x', { incremental: true })
    const remote = await room.point('x', { target: id })
    await room.succeed((await room.datasets.delete(ADMIN, { name: 'x' })).jobId)
    const removal = room.removal()
    const host = { id: (await room.hosts.find('a'))?.id ?? '', name: 'a' }
    const { blockers } = await removal.mark(ADMIN, host, { force: false })
    t.deepEqual(
      blockers.filter((blocker) => blocker.startsWith('point')),
      [`point ${local.id}`, `point ${increment.id}`],
    )
    t.deepEqual((await removal.mark(ADMIN, host, { force: true })).blockers, [])
    t.like(await removal.clear(), { forgottenPoints: 2 })
    room.registry.drop('a')
    t.deepEqual(
      (await room.points.list(ADMIN, {}, { limit: 9 })).items.map((point) => [point.id, point.host]),
      [[remote.id, 'a']],
    )
    const { jobId } = await room.points.verify(ADMIN, remote.id)
    t.is((await room.jobs.get(ADMIN, jobId)).host, 'b')
  },
)
