import { connect, createServer, type Socket } from 'node:net'
import test from 'ava'
import { z } from 'zod'
import { createDataSource } from '../control-plane/db/data-source.ts'
import { listen } from '../control-plane/db/listen.ts'
import { claims, createSql, isRefusal, statement } from '../control-plane/db/sql.ts'
import { createHostStore } from '../control-plane/db/stores/host-store.ts'
import { FleetError } from '../shared/errors.ts'
import { createLogger } from '../shared/logger.ts'
import { startDatabase } from './harness/database.ts'
import { FaultProxy } from './harness/fault-proxy.ts'
import { until } from './harness/until.ts'

const ONE = statement('test_one', z.unknown(), 'select 1')

test('a commit that fails is a failure, also when its statement has answered', async (t) => {
  const { db, sql } = await startDatabase(t)
  await db.query('create table once (n integer unique deferrable initially deferred)')
  const insert = statement('test_insert', z.object({ n: z.number() }), 'insert into once values ($1) returning n')
  t.deepEqual(await sql.transaction((tx) => tx.rowsAndCommit(insert, [1])), [{ n: 1 }])
  const error = await t.throwsAsync(sql.transaction((tx) => tx.rowsAndCommit(insert, [1])))
  t.true(isRefusal(error))
  t.deepEqual(await db.query('select n from once'), [{ n: 1 }])
})

for (const how of ['terminated', 'cut'] as const) {
  test(`a connection that is ${how} in the middle of a statement is the database being away, not a bug`, async (t) => {
    const { db, sql } = await startDatabase(t, { isAlone: true })
    const sleep = statement(`test_sleep_${how}`, z.unknown(), 'select pg_sleep(60)')
    const asleep = sql.rows(sleep, [])
    await until('it sleeps', async () => {
      const sleepers = `select pid from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()`
      const [row] = await db.query(sleepers)
      if (row === undefined) return false
      if (how === 'terminated') await db.query('select pg_terminate_backend($1)', [row.pid])
      else process.kill(row.pid, 'SIGKILL')
      return true
    })
    await t.throwsAsync(asleep, { instanceOf: FleetError, code: 'unavailable' })
    await until('it answers again', async () => (await sql.rows(ONE, []).catch(() => [])).length === 1)
  })
}

test('a row that no schema takes is left by claims, and keeps no other waiting', async (t) => {
  const { db } = await startDatabase(t)
  const odd: object[] = []
  const sql = createSql(db, (row) => void odd.push(row))
  const text = `select * from (values (1, 'good'), (2, 'new'), (3, 'good')) as v(id, kind)`
  const Row = z.object({ id: z.number(), kind: z.literal('good') })
  const found = [
    { id: 1, kind: 'good' },
    { id: 3, kind: 'good' },
  ]
  t.deepEqual(await sql.rows(claims('test_claims', Row, text), []), found)
  t.deepEqual(await sql.transaction((tx) => tx.rowsAndCommit(claims('test_claims', Row, text), [])), found)
  t.like(odd, [{ statement: 'test_claims', row: '2' }, { row: '2' }])
  await t.throwsAsync(sql.rows(statement('test_strict', Row, text), []))
})

test('pages of hosts and pools take only cursors that they gave', async (t) => {
  const { sql } = await startDatabase(t)
  const hosts = createHostStore(sql)
  const inventory = { version: '1', slots: 1, restorePaths: [], sourcePaths: [], backupRoot: null, pools: [] }
  for (const name of ['a', 'b', 'c']) await hosts.welcome({ name, hash: 'hash', inventory, isOpen: true })
  const first = await hosts.page({ limit: 2 })
  t.deepEqual(
    (await hosts.page({ limit: 2, cursor: first.nextCursor ?? '' })).items.map(({ name }) => name),
    ['c'],
  )
  for (const cursor of ['a b', "'", 'b', 'Yg==', 'ZZ', '_']) {
    await t.throwsAsync(hosts.page({ limit: 2, cursor }), { instanceOf: FleetError, code: 'invalid' }, cursor)
    await t.throwsAsync(hosts.poolPage({ limit: 2, cursor }), { instanceOf: FleetError, code: 'invalid' }, cursor)
  }
})

test('a listener whose server is away for a while comes back as one connection', async (t) => {
  const { url, db } = await startDatabase(t)
  const target = new URL(url)
  let isAway = false
  const open = new Set<Socket>()
  let tries = 0
  const proxy = createServer((client) => {
    if (isAway) {
      tries += 1
      client.destroy()
      return
    }
    open.add(client)
    const upstream = connect(Number(target.port), '127.0.0.1')
    client.pipe(upstream).pipe(client)
    client.on('error', () => upstream.destroy())
    client.on('close', () => {
      upstream.destroy()
      open.delete(client)
    })
    upstream.on('error', () => client.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => proxy.close())
  const address = proxy.address()
  if (address === null || typeof address === 'string') return t.fail()
  const through = new URL(url)
  through.port = String(address.port)
  const heard: string[] = []
  const listener = await listen({
    url: through.href,
    channels: { news: (payload) => heard.push(payload) },
    onConnect: () => undefined,
    logger: createLogger('test', 'error'),
  })
  isAway = true
  for (const socket of open) socket.destroy()
  await until('it has tried three times', () => tries >= 3)
  isAway = false
  await until('it listens again', async () => {
    await db.query(`notify news, 'x'`)
    return heard.length > 0
  })
  t.is(open.size, 1)
  await listener.close()
  await until('nothing stays open', () => open.size === 0)
})

test('a database that is gone without a word is away, and is asked again when it is back', async (t) => {
  const { url } = await startDatabase(t)
  const proxy = await FaultProxy.start(Number(new URL(url).port))
  t.teardown(() => proxy.close())
  const through = new URL(url)
  through.port = String(proxy.port)
  const db = createDataSource({ url: through.href, poolSize: 2 })
  await db.initialize()
  const sql = createSql(db, undefined, 1_000)
  const work = [
    () => sql.rows(ONE, []),
    () => sql.transaction((tx) => tx.rows(ONE, [])),
    () => sql.transaction((tx) => tx.rowsAndCommit(ONE, [])),
  ]
  for (const ask of work) {
    t.is((await ask()).length, 1)
    proxy.set({ kind: 'stall', afterBytes: 0 })
    const asked = [ask(), ask()]
    for (const answer of asked) await t.throwsAsync(answer, { instanceOf: FleetError, code: 'unavailable' })
    proxy.set({ kind: 'none' })
    await until('it answers again', async () => (await ask().catch(() => [])).length === 1)
  }
  proxy.dropAll()
  await db.destroy()
})

test('a listener whose server is gone without a word listens again when that is back', async (t) => {
  const { url, db } = await startDatabase(t)
  const proxy = await FaultProxy.start(Number(new URL(url).port))
  t.teardown(() => proxy.close())
  const through = new URL(url)
  through.port = String(proxy.port)
  let connections = 0
  const heard: string[] = []
  const listener = await listen({
    url: through.href,
    channels: { news: (payload) => heard.push(payload) },
    onConnect: () => {
      connections += 1
    },
    logger: createLogger('test', 'error'),
    pingMs: 500,
  })
  proxy.set({ kind: 'stall', afterBytes: 0 })
  await until('it has found out', () => proxy.stalled > 0)
  proxy.set({ kind: 'none' })
  await until('it listens again', async () => {
    await db.query(`notify news, 'x'`)
    return connections > 1 && heard.length > 0
  })
  t.is(heard[0], 'x')
  await listener.close()
})
