import test, { type ExecutionContext } from 'ava'
import type { Caller, Role } from '../control-plane/core/caller.ts'
import type { Member } from '../control-plane/core/groups.ts'
import type { ListRequest } from '../control-plane/core/query.ts'
import type { User } from '../control-plane/core/users.ts'
import { ROOT, startDirectory, startDirectoryListener } from './harness/directory.ts'

const EVERYTHING: ListRequest<never> = { filter: undefined, sort: [], offset: 0, limit: 50 }
const NEW = { password: null, role: null, disabled: false, certificates: [], tags: {} }
const MARK = { id: 'r', address: '10.0.0.1', method: 'PATCH', path: '/api/v1/users' }

type Directory = Awaited<ReturnType<typeof startDirectory>>

function member(user: User, group: { readonly id: string }, role: Role, via: Caller['via'] = 'session'): Caller {
  return { subject: `user:${user.name}`, userId: user.id, groupId: group.id, role, fleetRole: null, via, request: MARK }
}

async function tenant(directory: Directory, name: string, roles: readonly Role[]) {
  const users: User[] = []
  for (const [n, role] of roles.entries()) {
    users.push(await directory.users.create(ROOT, { ...NEW, name: `${name}-${role}-${n}` }))
  }
  const members = users.map((user, n): Member => ({ user: user.documentId, role: roles[n] ?? 'viewer' }))
  const group = await directory.groups.create(ROOT, { name, members, tags: {} })
  return { group, users, callers: users.map((user, n) => member(user, group, roles[n] ?? 'viewer')) }
}

const names = (listing: { readonly items: readonly { readonly name: string }[] }) =>
  listing.items.map(({ name }) => name)

async function refuses(t: ExecutionContext, work: () => Promise<unknown>, code: string): Promise<void> {
  const error = await t.throwsAsync(work)
  t.like(error, { code }, String(error))
}

test.serial(
  'each sees its own: itself, its group, as an admin its members; a role over the fleet sees all',
  async (t) => {
    const directory = await startDirectory(t)
    const { users, groups } = directory
    const red = await tenant(directory, 'red', ['admin', 'viewer'])
    const blue = await tenant(directory, 'blue', ['admin'])
    const [admin, viewer] = red.callers as [Caller, Caller]
    t.deepEqual(names(await users.list(admin, EVERYTHING)), ['red-admin-0', 'red-viewer-1'])
    t.deepEqual(names(await users.list(viewer, EVERYTHING)), ['red-viewer-1'])
    t.deepEqual(names(await groups.list(viewer, EVERYTHING)), ['red'])
    t.deepEqual(names(await groups.list(ROOT, EVERYTHING)), ['default', 'red', 'blue'])
    t.is((await users.list(ROOT, EVERYTHING)).total, 3)
    t.is((await users.get(admin, red.users[1]?.documentId ?? '')).name, 'red-viewer-1')
    for (const [caller, id] of [
      [viewer, red.users[0]?.documentId],
      [admin, blue.users[0]?.documentId],
      [admin, 'nonsense'],
    ] as const) {
      const error = await t.throwsAsync(() => users.get(caller, id ?? ''))
      t.like(error, { code: 'not_found', message: `there is no user '${id}'` })
    }
    await refuses(t, () => groups.get(admin, blue.group.documentId), 'not_found')
    await refuses(t, () => groups.change(admin, blue.group.documentId, () => ({ tags: {} })), 'not_found')
    await refuses(t, () => groups.delete(admin, blue.group.documentId), 'not_found')
  },
)

test.serial("a group's admin changes members, roles and tags of that group, and nothing else", async (t) => {
  const directory = await startDirectory(t)
  const { groups, users } = directory
  const { group, users: people, callers } = await tenant(directory, 'red', ['admin', 'viewer'])
  const [admin, viewer] = callers as [Caller, Caller]
  const { members } = group
  const stranger = await users.create(ROOT, { ...NEW, name: 'stranger' })
  const joined = [...members, { user: stranger.documentId, role: 'viewer' as const }]
  const changed = await groups.change(admin, group.documentId, () => ({ members: joined, tags: { a: 'b' } }))
  t.deepEqual(changed.members, joined)
  t.deepEqual(changed.tags, { a: 'b' })
  await refuses(t, () => groups.change(viewer, group.documentId, () => ({ tags: {} })), 'forbidden')
  await refuses(t, () => groups.change(admin, group.documentId, () => ({ name: 'other' })), 'forbidden')
  await refuses(t, () => groups.create(admin, { name: 'mine', members: [], tags: {} }), 'forbidden')
  await refuses(t, () => groups.delete(admin, group.documentId), 'forbidden')
  await refuses(t, () => users.create(admin, { ...NEW, name: 'mine' }), 'forbidden')
  await refuses(t, () => users.change(admin, people[1]?.documentId ?? '', () => ({ role: 'admin' })), 'forbidden')
  await refuses(t, () => users.change(admin, people[0]?.documentId ?? '', () => ({ role: 'admin' })), 'forbidden')
  await refuses(t, () => users.delete(admin, people[1]?.documentId ?? ''), 'forbidden')
})

test.serial(
  'its own password everybody changes who knows the old one, and sessions end with the old one',
  async (t) => {
    const directory = await startDirectory(t)
    const { users, identity } = directory
    const { users: people, group } = await tenant(directory, 'red', ['viewer'])
    const [{ documentId, name }] = people as [User]
    await users.change(ROOT, documentId, () => ({ password: 'first password' }))
    const self = member(people[0] as User, group, 'viewer')
    const login = (password: string) => identity.sessions.login({ username: name, password }, MARK)
    const outcome = await login('first password')
    t.true(outcome.ok)
    const password = 'second password'
    await refuses(t, () => users.change(self, documentId, () => ({ password })), 'invalid')
    await refuses(
      t,
      () => users.change(self, documentId, () => ({ password, currentPassword: 'wrong one' })),
      'invalid',
    )
    const both = { password, currentPassword: 'first password' }
    await refuses(t, () => users.change(self, documentId, () => ({ ...both, tags: { a: 'b' } })), 'forbidden')
    await refuses(t, () => users.change(self, documentId, () => ({ ...both, password: null })), 'forbidden')
    await users.change(self, documentId, () => both)
    await t.throwsAsync(() => identity.sessions.refresh(outcome.ok ? outcome.secret : ''))
    await t.throwsAsync(() => login('first password'))
    t.true((await login(password)).ok)
  },
)

test.serial('guesses of the old password are limited as those of a login', async (t) => {
  const directory = await startDirectory(t)
  const { users: people, group } = await tenant(directory, 'red', ['viewer'])
  const [user] = people as [User]
  await directory.users.change(ROOT, user.documentId, () => ({ password: 'first password' }))
  const guess = () =>
    directory.users.change(member(user, group, 'viewer'), user.documentId, () => ({
      password: 'second password',
      currentPassword: 'wrong',
    }))
  for (let n = 0; n < 10; n += 1) await refuses(t, guess, 'invalid')
  await refuses(t, guess, 'busy')
})

test.serial('somebody must be left who may administer the fleet', async (t) => {
  const { users, tokens } = await startDirectory(t)
  const admin = (name: string) => users.create(ROOT, { ...NEW, name, role: 'admin' })
  const [one, two] = await Promise.all([admin('one'), admin('two')])
  // Each is taken away because the other is still there: only one of the two may be right.
  const outcomes = await Promise.allSettled([
    users.delete(ROOT, one.documentId),
    users.change(ROOT, two.documentId, () => ({ disabled: true })),
  ])
  t.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  const left = outcomes[0]?.status === 'rejected' ? one : two
  for (const change of [{ role: null }, { role: 'operator' as const }, { disabled: true }]) {
    await refuses(t, () => users.change(ROOT, left.documentId, () => change), 'conflict')
  }
  await refuses(t, () => users.delete(ROOT, left.documentId), 'conflict')
  t.is((await users.change(ROOT, left.documentId, () => ({ tags: { a: 'b' } }))).tags.a, 'b')

  const expiring = await tokens.create(ROOT, {
    name: 'soon',
    role: 'admin',
    owner: null,
    group: null,
    tags: {},
    expiresAt: new Date(Date.now() + 60_000),
  })
  await refuses(t, () => users.delete(ROOT, left.documentId), 'conflict')
  const service = await tokens.create(ROOT, {
    name: 'service',
    role: 'admin',
    owner: null,
    group: null,
    tags: {},
    expiresAt: null,
  })
  await users.delete(ROOT, left.documentId)
  await refuses(t, () => tokens.delete(ROOT, service.token.documentId), 'conflict')
  await refuses(t, () => tokens.change(ROOT, service.token.documentId, () => ({ role: 'viewer' })), 'conflict')
  await tokens.delete(ROOT, expiring.token.documentId)
})

test.serial('a group that owns something stays; else its root is left to be deleted, and its keys end', async (t) => {
  const directory = await startDirectory(t)
  const { groups, tokens, db, discarded } = directory
  const { group } = await tenant(directory, 'red', ['admin'])
  await tokens.create(ROOT, {
    name: 'k',
    owner: null,
    group: group.documentId,
    role: 'viewer',
    tags: {},
    expiresAt: null,
  })
  await db.query(
    `insert into host (id, name, state, version, slots, restore_paths, inventory_hash) values (gen_random_uuid(), 'h', 'online', '1', 1, '[]', '')`,
  )
  await db.query(
    `insert into pool (id, host_id, name, local_name, driver, capabilities, size_bytes, free_bytes) select gen_random_uuid(), id, 'p', 'p', 'sim', '{}', 1, 1 from host`,
  )
  const dataset = (name: string, ordinal: number) =>
    db.query(
      `insert into dataset (id, ordinal, group_id, pool_id, kind, name, is_snapshot, readonly, state)
       select gen_random_uuid(), $3, $1, id, 'filesystem', $2, false, false, 'available' from pool`,
      [group.id, name, ordinal],
    )
  await dataset('root', 0)
  await dataset('data', 7)
  const error = await t.throwsAsync(() => groups.delete(ROOT, group.documentId))
  t.like(error, { code: 'conflict', blockers: ['dataset data'] })
  await db.query(`delete from dataset where name = 'data'`)
  await groups.delete(ROOT, group.documentId)
  t.deepEqual(discarded, [`root-of-${group.documentId}`])
  const [left] = await db.query(
    `select g.name, d.ordinal <> 0 as ordinary from dataset d join user_group g on g.id = d.group_id`,
  )
  t.deepEqual(left, { name: 'default', ordinary: true })
  t.deepEqual(await db.query('select name from access_token'), [])
  const standard = (await groups.list(ROOT, EVERYTHING)).items[0]
  await refuses(t, () => groups.delete(ROOT, standard?.documentId ?? ''), 'conflict')
})

test.serial('a user takes memberships, keys and sessions along, and its groups have another version', async (t) => {
  const directory = await startDirectory(t)
  const { group, users } = await tenant(directory, 'red', ['admin', 'viewer'])
  const [, gone] = users as [User, User]
  await directory.tokens.create(ROOT, { name: 'k', owner: gone.documentId, role: 'viewer', tags: {}, expiresAt: null })
  await directory.users.delete(ROOT, gone.documentId)
  const now = await directory.groups.get(ROOT, group.documentId)
  t.is(now.members.length, 1)
  t.is(now.version, group.version + 1)
  t.is((await directory.tokens.list(ROOT, EVERYTHING)).total, 0)
})

test.serial('a key never does more than who made it', async (t) => {
  const directory = await startDirectory(t)
  const { tokens } = directory
  const red = await tenant(directory, 'red', ['admin', 'operator'])
  const blue = await tenant(directory, 'blue', ['admin'])
  const [admin, operator] = red.callers as [Caller, Caller]
  const [redAdmin, redOperator] = red.users as [User, User]
  const blank = { name: 'k', tags: {}, expiresAt: null }
  const own = await tokens.create(operator, blank)
  t.like(own.token, { role: 'operator', owner: { documentId: redOperator.documentId }, group: { id: red.group.id } })
  t.is((await tokens.create(operator, { ...blank, group: null })).token.group, null)
  const bound: Caller = { ...operator, via: 'token' }
  for (const [caller, asked] of [
    [operator, { role: 'admin' }],
    [bound, { group: null }],
    [operator, { owner: redAdmin.documentId }],
    [operator, { owner: null }],
    [admin, { owner: redOperator.documentId }],
    [admin, { owner: null, group: null }],
    [admin, { owner: null, group: blue.group.documentId }],
    [admin, { group: blue.group.documentId }],
    [admin, { group: '624e188b47ea96df6df16c22' }],
    [admin, { owner: '624e188b47ea96df6df16c22' }],
  ] as const) {
    await refuses(t, () => tokens.create(caller, { ...blank, name: 'x', ...asked }), 'forbidden')
  }
  await refuses(t, () => tokens.create(ROOT, { ...blank, group: '624e188b47ea96df6df16c22' }), 'invalid')
  await refuses(t, () => tokens.create(ROOT, { ...blank, owner: '624e188b47ea96df6df16c22' }), 'invalid')

  const service = await tokens.create(admin, { ...blank, name: 'csi', owner: null })
  t.like(service.token, { owner: null, group: { id: red.group.id }, role: 'admin' })
  await refuses(t, () => tokens.get(operator, service.token.documentId), 'not_found')
  await refuses(t, () => tokens.get(blue.callers[0] as Caller, service.token.documentId), 'not_found')
  await refuses(t, () => tokens.change(operator, own.token.documentId, () => ({ role: 'admin' })), 'forbidden')
  await refuses(t, () => tokens.change(admin, own.token.documentId, () => ({ role: 'viewer' })), 'forbidden')
  // What reaches into the group its admin may end, whoever's it is.
  await tokens.delete(admin, own.token.documentId)
  t.is((await tokens.list(operator, EVERYTHING)).total, 1)
})

test.serial('with identity elsewhere, ids of strangers are members who cannot log in', async (t) => {
  const { groups, users } = await startDirectory(t, { externalIdentity: true })
  const id = '624df340e1980b575f252fc7'
  const members = [{ user: id, role: 'operator' as const }]
  for (const name of ['one', 'two'])
    t.deepEqual((await groups.create(ROOT, { name, members, tags: {} })).members, members)
  t.like(await users.get(ROOT, id), { documentId: id, name: `external:${id}`, hasPassword: false, role: null })
})

test.serial(
  'what an admin of the fleet does is read by the admins of the group it is about, not of the one acted for',
  async (t) => {
    const directory = await startDirectory(t)
    const { db, users, groups, tokens } = directory
    const { group } = await tenant(directory, 'red', ['admin'])
    const service = { name: 'ci', owner: null, group: group.documentId, tags: {}, expiresAt: null }
    const { token } = await tokens.create(ROOT, service)
    await tokens.delete(ROOT, token.documentId)
    await tokens.create(ROOT, { ...service, group: null })
    const user = await users.create(ROOT, { ...NEW, name: 'stranger' })
    await users.delete(ROOT, user.documentId)
    await groups.delete(ROOT, group.documentId)
    const rows: { operation: string; group_id: string | null }[] = await db.query(
      'select operation, group_id from audit order by ordinal',
    )
    t.deepEqual(
      rows.map(({ operation, group_id }) => [operation, group_id]),
      [
        ['user.create', null],
        ['group.create', group.id],
        ['token.create', group.id],
        ['token.delete', group.id],
        ['token.create', null],
        ['user.create', null],
        ['user.delete', null],
        ['group.delete', group.id],
      ],
    )
  },
)

test.serial('a key that expires makes and mends none that lasts longer', async (t) => {
  const { users, groups, ask } = await startDirectoryListener(t)
  const alice = await users.create(ROOT, { ...NEW, name: 'alice' })
  const members = [{ user: alice.documentId, role: 'operator' as const }]
  const { documentId: usergroup } = await groups.create(ROOT, { name: 'red', members, tags: {} })
  const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toUTCString()
  const make = (body: object, as?: string) =>
    ask('POST', '/api/v1/apikeys', {
      body: { role: 'viewer', usergroup, ...body },
      ...(as === undefined ? {} : { as }),
    })
  const own = { user: alice.documentId, role: 'operator' }
  const lasting = (await make({ ...own, name: 'lasting' })).json
  t.is((await make({ ...own, name: 'over', expires_at: inSeconds(-60) })).status, 422)
  const passing = (await make({ ...own, name: 'passing', expires_at: inSeconds(60) })).json
  t.is((await make({ name: 'a' }, passing.token)).status, 403)
  t.is((await make({ name: 'b', expires_at: inSeconds(3_600) }, passing.token)).status, 403)
  const made = await make({ name: 'c', expires_at: inSeconds(30) }, passing.token)
  t.is(made.status, 201)
  t.is((await make({ name: 'd' }, lasting.token)).status, 201)
  const edit = ({ _id, _etag }: { _id: string; _etag: string }, body: object) =>
    ask('PATCH', `/api/v1/apikeys/${_id}`, { as: passing.token, body, headers: { 'if-match': `"${_etag}"` } })
  t.is((await edit(made.json, { expires_at: null })).status, 403)
  t.is((await edit(passing, { expires_at: inSeconds(3_600) })).status, 403)
  t.is((await edit(lasting, { role: 'viewer' })).status, 403)
  t.is((await edit(made.json, { name: 'e' })).status, 200)
})

test.serial('every change is told to the audit, without its secrets', async (t) => {
  const { users, groups, tokens, db } = await startDirectory(t)
  const user = await users.create(ROOT, { ...NEW, name: 'alice', password: 'planted-password' })
  await users.change(ROOT, user.documentId, () => ({ password: 'planted-again' }))
  const group = await groups.create(ROOT, { name: 'red', members: [], tags: {} })
  const { token, secret } = await tokens.create(ROOT, { name: 'k', role: 'viewer', tags: {}, expiresAt: null })
  await tokens.delete(ROOT, token.documentId)
  await groups.delete(ROOT, group.documentId)
  await users.delete(ROOT, user.documentId)
  const rows = await db.query('select * from audit order by ordinal')
  t.deepEqual(
    rows.map((row: { operation: string }) => row.operation),
    ['user.create', 'user.update', 'group.create', 'token.create', 'token.delete', 'group.delete', 'user.delete'],
  )
  const told = JSON.stringify(rows)
  t.false(told.includes('planted') || told.includes(secret))
  t.like(rows[1], { object_name: 'alice', object_id: user.id, result: 'done', detail: { fields: ['password'] } })
})

test.serial('of twenty writers with one etag exactly one wins', async (t) => {
  const { ask } = await startDirectoryListener(t)
  for (const [collection, body] of [
    ['usergroups', { tags: { a: 'b' } }],
    ['users', { tags: { a: 'b' } }],
    ['apikeys', { tags: { a: 'b' } }],
  ] as const) {
    const made = await ask('POST', `/api/v1/${collection}`, { body: { name: 'contended' } })
    t.is(made.status, 201, made.text)
    const path = `/api/v1/${collection}/${made.json._id}`
    const headers = { 'if-match': made.json._etag }
    const race = (method: string) =>
      Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          ask(method, path, { headers, body: n % 2 ? body : { tags: { n: String(n) } } }),
        ),
      )
    const statuses = (await race('PATCH')).map(({ status }) => status).toSorted((a, b) => a - b)
    t.deepEqual(statuses, [200, ...Array(19).fill(412)], collection)
    const any = await Promise.all(
      Array.from({ length: 5 }, () => ask('PATCH', path, { headers: { 'if-match': '*' }, body })),
    )
    t.deepEqual(new Set(any.map(({ status }) => status)), new Set([200]))
    t.is(new Set(any.map(({ json }) => json._etag)).size, 5)
    const last = { 'if-match': (await ask('GET', path)).json._etag }
    const deleted = await Promise.all(Array.from({ length: 20 }, () => ask('DELETE', path, { headers: last })))
    t.is(deleted.filter(({ status }) => status === 204).length, 1)
    t.true(deleted.every(({ status }) => [204, 404, 412].includes(status)))
  }
})

test.serial('a key works from its creation to its deletion, and no longer', async (t) => {
  const { ask } = await startDirectoryListener(t)
  const { json } = await ask('POST', '/api/v1/apikeys', { body: { name: 'k', role: 'viewer' } })
  t.is((await ask('GET', '/api/v1/users', { as: json.token })).status, 200)
  t.is((await ask('POST', '/api/v1/users', { as: json.token, body: { name: 'x' } })).status, 403)
  t.is((await ask('DELETE', `/api/v1/apikeys/${json._id}`, { headers: { 'if-match': '*' } })).status, 204)
  t.is((await ask('GET', '/api/v1/users', { as: json.token })).status, 401)
})
