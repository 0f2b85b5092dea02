import { randomUUID } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { pino } from 'pino'
import { startDatabase } from '../../test/harness/database.ts'
import { until } from '../../test/harness/until.ts'
import type { AuditEntry } from '../core/audit.ts'
import { shownSecret } from '../core/credentials.ts'
import { listen } from '../db/listen.ts'
import { ACCESS_CHANNEL, createCredentialStore } from '../db/stores/credential-store.ts'
import { createFirstAdminStore } from '../db/stores/first-admin-store.ts'
import { createLoginFailureStore } from '../db/stores/login-failure-store.ts'
import { createSessionStore } from '../db/stores/session-store.ts'
import { createCredentialCache } from './credentials.ts'
import { createAdmin } from './first-admin.ts'
import { createLoginLimiter } from './limiter.ts'
import { createSessions } from './login.ts'
import { openIdentity } from './open-identity.ts'
import { hashPassword } from './passwords.ts'

const MARK = { id: 'r', address: '10.0.0.1', method: 'POST', path: '/api/v1/login' }
const unauthorized = { code: 'unauthorized' }

async function start(t: ExecutionContext) {
  const { db, sql, url } = await startDatabase(t)
  const told: AuditEntry[] = []
  const audit = { record: (entry: AuditEntry) => void told.push(entry) }
  const identity = openIdentity(sql, audit)
  const admins = createFirstAdminStore(sql)
  const token = async (given: { secret: string; user?: string; group?: string; role?: string; expired?: boolean }) => {
    await db.query(
      `insert into access_token (id, group_id, user_id, name, hash, role, expires_at)
       values ($1, (select id from user_group where name = $2), (select id from fleet_user where name = $3), $4,
         sha256($4::text::bytea), $5, case when $6 then now() - interval '1 second' end)`,
      [
        randomUUID(),
        given.group ?? null,
        given.user ?? null,
        given.secret,
        given.role ?? 'admin',
        given.expired ?? false,
      ],
    )
    return shownSecret('token', given.secret)
  }
  const group = (name: string) => db.query('insert into user_group (id, name) values ($1, $2)', [randomUUID(), name])
  const member = (user: string, name: string, role: string) =>
    db.query(
      `insert into membership (group_id, user_id, role)
       select g.id, u.id, $3 from user_group g, fleet_user u where g.name = $2 and u.name = $1`,
      [user, name, role],
    )
  const login = async (username: string, password: string) => {
    const outcome = await identity.sessions.login({ username, password }, MARK)
    t.true(outcome.ok)
    return outcome.ok ? outcome : t.fail() && never()
  }
  return { db, sql, url, identity, audit, told, admins, token, group, member, login }
}

function never(): never {
  throw new Error('unreachable')
}

test('a token stands for its owner, in the group asked for, by name or id', async (t) => {
  const { db, identity, admins, token, group, member } = await start(t)
  const { credentials } = identity
  await createAdmin(admins, 'alice')
  await db.query(`update fleet_user set role = null where name = 'alice'`)
  await group('red')
  await group('blue')
  await member('alice', 'red', 'operator')
  const shown = await token({ secret: 's'.repeat(43), user: 'alice' })
  const red = await credentials.find(shown, undefined)
  t.like(red, { role: 'operator', fleetRole: null, subject: `token:alice/${'s'.repeat(43)}`, via: 'token' })
  t.is((await credentials.find(shown, 'red')).groupId, red.groupId)
  t.is((await credentials.find(shown, red.groupId.toUpperCase())).groupId, red.groupId)
  const [shownAs] = await db.query('select document_id from user_group where id = $1', [red.groupId])
  t.is((await credentials.find(shown, shownAs.document_id)).groupId, red.groupId)
  const other = await t.throwsAsync(credentials.find(shown, 'blue'), { code: 'forbidden' })
  const absent = await t.throwsAsync(credentials.find(shown, "nobody's"), { code: 'forbidden' })
  t.is(other?.message, absent?.message)
})

test('what somebody is told who asks for a group without a name is not remembered for those who ask for none', async (t) => {
  const { identity } = await start(t)
  const network = { kind: 'network', id: '10.0.0.0/8', role: 'viewer' } as const
  await t.throwsAsync(identity.credentials.find(network, ''), { code: 'forbidden' })
  t.like(await identity.credentials.find(network, undefined), { role: 'viewer' })
})

test('unknown, expired and disabled are one', async (t) => {
  const { db, identity, admins, token } = await start(t)
  await createAdmin(admins, 'alice')
  const owned = await token({ secret: 'a'.repeat(43), user: 'alice' })
  const expired = await token({ secret: 'b'.repeat(43), expired: true })
  t.is((await identity.credentials.find(owned, undefined)).fleetRole, 'admin')
  await db.query('update fleet_user set disabled = true')
  identity.credentials.drop()
  const answers = [owned, expired, shownSecret('token', 'c'.repeat(43)), shownSecret('session', 'd')].map((shown) =>
    t.throwsAsync(identity.credentials.find(shown, undefined), unauthorized),
  )
  t.is(new Set((await Promise.all(answers)).map((error) => error?.message)).size, 1)
})

test('who asks together is answered by one query, and it is asked again after a second', async (t) => {
  const { sql, token } = await start(t)
  const shown = await token({ secret: 'a'.repeat(43) })
  const store = createCredentialStore(sql)
  let reads = 0
  let nowMs = 0
  const counted: typeof store = {
    ...store,
    find(...asked) {
      reads += 1
      return store.find(...asked)
    },
  }
  const cache = createCredentialCache({ store: counted, now: () => nowMs })
  await Promise.all(Array.from({ length: 50 }, () => cache.find(shown, undefined)))
  t.is(reads, 1)
  nowMs = 999
  await cache.find(shown, undefined)
  t.is(reads, 1)
  nowMs = 1_000
  await cache.find(shown, undefined)
  t.is(reads, 2)
  cache.drop()
  await cache.find(shown, undefined)
  t.is(reads, 3)
})

test('uses are written together, and never by a request', async (t) => {
  const { db, identity, token } = await start(t)
  const shown = await token({ secret: 'a'.repeat(43) })
  await identity.credentials.find(shown, undefined)
  const lastUsed = async () => (await db.query('select last_used_at, version from access_token'))[0]
  t.is((await lastUsed()).last_used_at, null)
  await identity.credentials.flush()
  t.truthy((await lastUsed()).last_used_at)
})

test('Postgres tells of every change of rights, by whatever statement, and of nothing else', async (t) => {
  const { db, url, identity, admins, token, group, member, login } = await start(t)
  const told: string[] = []
  const listener = await listen({
    url,
    channels: { [ACCESS_CHANNEL]: (table) => void told.push(table) },
    onConnect: () => undefined,
    logger: pino({ level: 'silent' }),
  })
  t.teardown(() => listener.close())
  const heard = async (table: string) => {
    await until(table, () => told.includes(table))
    told.length = 0
  }
  const password = await createAdmin(admins, 'alice')
  await group('red')
  await heard('user_group')
  await member('alice', 'red', 'viewer')
  await heard('membership')
  const shown = await token({ secret: 'a'.repeat(43), user: 'alice' })
  const { secret } = await login('alice', password)
  await identity.credentials.find(shown, undefined)
  await identity.credentials.flush()
  await db.query(`update fleet_user set disabled = false where name = 'nobody'`)
  await db.query('update fleet_user set disabled = true')
  await heard('fleet_user')
  await db.query('update access_token set expires_at = now()')
  await until('access_token', () => told.length > 0)
  t.deepEqual(told.splice(0), ['access_token'])
  await db.query('update fleet_user set disabled = false')
  await heard('fleet_user')
  await identity.sessions.logout(secret, MARK)
  await heard('session')
})

test('a session lasts from login to logout, and its secret is not kept', async (t) => {
  const { db, identity, admins, login } = await start(t)
  const password = await createAdmin(admins, 'alice')
  const { session, secret } = await login('alice', password)
  t.like(session, { username: 'alice', isAdmin: true })
  const shown = shownSecret('session', secret)
  t.like(await identity.credentials.find(shown, undefined), {
    subject: 'user:alice',
    via: 'session',
    fleetRole: 'admin',
  })
  t.like(await identity.sessions.refresh(secret), { username: 'alice' })
  const [{ hash }] = await db.query('select hash from session')
  t.is(hash.toString('hex'), shown.id)
  t.deepEqual(await identity.sessions.logout(secret, MARK), { username: 'alice' })
  await t.throwsAsync(identity.credentials.find(shown, undefined), unauthorized)
  await t.throwsAsync(identity.sessions.refresh(secret), unauthorized)
  await t.throwsAsync(identity.sessions.logout(secret, MARK), unauthorized)
})

test('a session that is used lives on, but not for ever', async (t) => {
  const { db, identity, admins, login } = await start(t)
  const { secret } = await login('alice', await createAdmin(admins, 'alice'))
  const left = async () =>
    Number((await db.query('select extract(epoch from expires_at - now()) / 3600 as hours from session'))[0]?.hours)
  t.true(Math.abs((await left()) - 12) < 0.1)
  await db.query(`update session set used_at = now() - interval '2 hours', expires_at = now() + interval '10 hours'`)
  await identity.credentials.find(shownSecret('session', secret), undefined)
  await identity.credentials.flush()
  t.true(Math.abs((await left()) - 12) < 0.1)
  await db.query(`update session set created_at = now() - interval '166 hours', used_at = now() - interval '1 hour'`)
  identity.credentials.drop()
  await identity.credentials.find(shownSecret('session', secret), undefined)
  await identity.credentials.flush()
  t.true(Math.abs((await left()) - 2) < 0.1)
  await db.query(`update session set expires_at = now() - interval '1 second'`)
  identity.credentials.drop()
  await t.throwsAsync(identity.credentials.find(shownSecret('session', secret), undefined), unauthorized)
  await identity.prune()
  t.deepEqual(await db.query('select * from session'), [])
})

test('a wrong password and an unknown, disabled or passwordless user read the same', async (t) => {
  const { db, identity, admins } = await start(t)
  const password = await createAdmin(admins, 'alice')
  await createAdmin(admins, 'robot')
  await db.query(`update fleet_user set password = null where name = 'robot'`)
  const attempt = (username: string, guess: string) =>
    t.throwsAsync(identity.sessions.login({ username, password: guess }, MARK), unauthorized)
  const errors = [await attempt('alice', 'x'), await attempt('nobody', 'x'), await attempt('robot', '')]
  await db.query(`update fleet_user set disabled = true`)
  errors.push(await attempt('alice', password))
  t.is(new Set(errors.map((error) => error?.message)).size, 1)
})

test('a password that is replaced while it is compared opens no session', async (t) => {
  const { db, sql, identity, audit, admins } = await start(t)
  const password = await createAdmin(admins, 'alice')
  const store = createSessionStore(sql)
  const sessions = createSessions({
    store: {
      ...store,
      async account(name) {
        const found = await store.account(name)
        await db.query('update fleet_user set password = $1', [await hashPassword('another one')])
        return found
      },
    },
    limiter: createLoginLimiter({ store: createLoginFailureStore(sql) }),
    credentials: identity.credentials,
    audit,
  })
  await t.throwsAsync(sessions.login({ username: 'alice', password }, MARK), unauthorized)
  t.deepEqual(await db.query('select * from session'), [])
  t.deepEqual(await db.query(`select * from audit where operation = 'session.login'`), [])
})

test('ten failures a minute for an account from an address, also side by side and over all replicas', async (t) => {
  const { audit, sql, identity, admins } = await start(t)
  const password = await createAdmin(admins, 'alice')
  await createAdmin(admins, 'bob')
  const replicas = [identity, openIdentity(sql, audit)]
  const attempts = Array.from({ length: 16 }, (_, n) =>
    replicas[n % 2]?.sessions.login({ username: 'alice', password: 'x' }, MARK).catch(() => 'failed'),
  )
  const outcomes = await Promise.all(attempts)
  t.is(outcomes.filter((outcome) => outcome === 'failed').length, 10)
  const right = await identity.sessions.login({ username: 'alice', password }, MARK)
  t.like(right, { ok: false })
  t.true(!right.ok && right.retryAfterS > 50 && right.retryAfterS <= 60)
  t.like(await identity.sessions.login({ username: 'alice', password }, { ...MARK, address: '10.0.0.2' }), { ok: true })
})

test('failures are forgotten after a minute, and after a success', async (t) => {
  const { db, sql } = await start(t)
  const limiter = createLoginLimiter({ store: createLoginFailureStore(sql) })
  const attempt = { username: 'alice', address: '10.0.0.1' }
  for (let n = 0; n < 10; n += 1) t.is(await limiter.begin(attempt), undefined)
  t.truthy(await limiter.begin(attempt))
  await db.query(
    `update login_failure set failed_at = array(select failed - interval '61 seconds' from unnest(failed_at) failed)`,
  )
  const fresh = createLoginLimiter({ store: createLoginFailureStore(sql) })
  t.is(await fresh.begin(attempt), undefined)
  await fresh.succeed(attempt)
  for (let n = 0; n < 10; n += 1) t.is(await fresh.begin(attempt), undefined)
})

test('an address that tries account after account is limited too', async (t) => {
  const { sql } = await start(t)
  const limiter = createLoginLimiter({ store: createLoginFailureStore(sql) })
  const begin = (n: number, address: string) => limiter.begin({ username: `user${n}`, address })
  for (let n = 0; n < 100; n += 1) t.is(await begin(n, '10.0.0.1'), undefined)
  t.truthy(await begin(100, '10.0.0.1'))
  t.is(await begin(101, '10.0.0.2'), undefined)
})

test('who picks among the addresses of an IPv6 network is limited as one', async (t) => {
  const { sql } = await start(t)
  const limiter = createLoginLimiter({ store: createLoginFailureStore(sql) })
  const begin = (address: string) => limiter.begin({ username: 'alice', address })
  for (let n = 0; n < 10; n += 1) t.is(await begin(`2001:db8:0:7::${n + 1}`), undefined)
  t.truthy(await begin('2001:db8::7:a:b:c:d'))
  t.is(await begin('2001:db8:0:8::1'), undefined)
})

test('no two tokens are told by the same subject', async (t) => {
  const { db, identity, token, group } = await start(t)
  await group('team')
  const named = async (secret: string, name: string, of?: string) => {
    const shown = await token({ secret: secret.repeat(43), ...(of === undefined ? {} : { group: of }) })
    await db.query('update access_token set name = $1 where name = $2', [name, secret.repeat(43)])
    return (await identity.credentials.find(shown, undefined)).subject
  }
  const subjects = [await named('a', 'ci@team'), await named('b', 'ci', 'team'), await named('c', 'ci%40team')]
  t.deepEqual(subjects, ['token:ci%40team', 'token:ci@team', 'token:ci%2540team'])
})

test('a certificate stands for the one user that its names are mapped to', async (t) => {
  const { db, identity, admins } = await start(t)
  await createAdmin(admins, 'alice')
  await createAdmin(admins, 'bob')
  const map = (name: string, user: string) =>
    db.query('insert into user_certificate select $1, id from fleet_user where name = $2', [name, user])
  await map('email:alice@example.com', 'alice')
  await map('subject:CN=alice', 'alice')
  await map('dns:bob.example', 'bob')
  const find = (...names: string[]) =>
    identity.credentials.find({ kind: 'certificate', id: names.join(), names }, undefined)
  t.like(await find('subject:CN=alice', 'email:alice@example.com'), { subject: 'user:alice', via: 'certificate' })
  await t.throwsAsync(find('subject:CN=mallory'), unauthorized)
  await t.throwsAsync(find('email:alice@example.com', 'dns:bob.example'), unauthorized)
  await t.throwsAsync(find(), unauthorized)
})

test('the first admin is let in by what the file says, now and after it changed', async (t) => {
  const { db, identity, login } = await start(t)
  const first = { token: 't'.repeat(43), username: 'admin', password: 'one' }
  await identity.ensure(first)
  const { secret } = await login('admin', 'one')
  const [before] = await db.query('select password from fleet_user')
  await identity.ensure(first)
  t.deepEqual(await db.query('select password from fleet_user'), [before])
  await identity.sessions.refresh(secret)
  await identity.ensure({ ...first, token: 'u'.repeat(43), password: 'two' })
  await t.throwsAsync(identity.sessions.refresh(secret), unauthorized)
  await login('admin', 'two')
  const found = await identity.credentials.find(shownSecret('token', 'u'.repeat(43)), undefined)
  t.like(found, { subject: 'token:admin', fleetRole: 'admin' })
})

test('logins, refused ones and logouts are audited; a name that is nobody is not kept', async (t) => {
  const { db, identity, admins, login, told } = await start(t)
  await createAdmin(admins, 'alice')
  const password = 'wrong'
  await t.throwsAsync(identity.sessions.login({ username: 'alice', password }, MARK), unauthorized)
  await t.throwsAsync(identity.sessions.login({ username: 'my-password', password }, MARK), unauthorized)
  t.like(told[0], { operation: 'session.login', object: { name: 'alice' }, result: 'refused', by: { request: MARK } })
  t.false(JSON.stringify(told[1]).includes('my-password'))

  const fresh = await createAdmin(admins, 'bob')
  const { secret } = await login('bob', fresh)
  await identity.sessions.logout(secret, MARK)
  const made = await db.query(`select object_name from audit where operation = 'user.create' order by ordinal`)
  t.deepEqual(made, [{ object_name: 'alice' }, { object_name: 'bob' }])
  const rows = await db.query(`select * from audit where operation like 'session.%' order by ordinal`)
  const [{ id }] = await db.query(`select id from fleet_user where name = 'bob'`)
  const both = {
    subject: 'user:bob',
    user_id: id,
    via: 'session',
    address: MARK.address,
    object_id: id,
    result: 'done',
  }
  t.like(rows[0], { ...both, operation: 'session.login' })
  t.like(rows[1], { ...both, operation: 'session.logout' })
  t.is(rows.length, 2)
})
