import test, { type ExecutionContext } from 'ava'
import { pino } from 'pino'
import { newId } from '../../shared/ids.ts'
import { startDatabase } from '../../test/harness/database.ts'
import { until } from '../../test/harness/until.ts'
import { type AuditEntry, anonymous, createAudit } from '../core/audit.ts'
import { createHeadMarks } from '../core/audit-chain.ts'
import { type Caller, DEFAULT_GROUP_ID, fleetCaller, SYSTEM_CALLER } from '../core/caller.ts'
import { createDataSource } from '../db/data-source.ts'
import { createSql, isRefusal } from '../db/sql.ts'
import { createAuditChainStore } from '../db/stores/audit-chain-store.ts'
import { createAuditStore } from '../db/stores/audit-store.ts'
import { writeAudit, writeAuditWith } from '../db/stores/audit-write.ts'
import { parseKeyring } from '../secrets/keyring.ts'
import { createVault } from '../secrets/vault.ts'
import { createAuditClaimer } from './claimer.ts'
import { createAuditRecorder } from './recorder.ts'
import { verifyAudit } from './verify.ts'

const marksOf = (byte: number) => createHeadMarks(createVault(parseKeyring(Buffer.alloc(32, byte).toString('base64'))))

const entry = (name: string, extra: Partial<AuditEntry> = {}): AuditEntry => ({
  by: SYSTEM_CALLER,
  operation: 'dataset.create',
  object: { kind: 'dataset', id: newId(), name },
  result: 'done',
  ...extra,
})

async function open(t: ExecutionContext) {
  const { db, sql, url } = await startDatabase(t)
  const marks = marksOf(1)
  const store = createAuditChainStore(sql, marks)
  const claim = createAuditClaimer(store)
  const tell = (...names: string[]) =>
    writeAudit(
      sql,
      names.map((name) => entry(name)),
    )
  const verify = (expected?: { seq: number; hash: string }) => verifyAudit({ store, marks }, expected)
  /** What the owner of the tables can do. */
  const tamper = async (...statements: string[]) => {
    const runner = db.createQueryRunner()
    await runner.query('alter table audit disable trigger user')
    for (const statement of statements) await runner.query(statement)
    await runner.query('alter table audit enable trigger user')
    await runner.release()
  }
  return { db, sql, url, store, marks, claim, tell, verify, tamper }
}

test('committed rows are linked and the tail is told', async (t) => {
  const { tell, claim, verify } = await open(t)
  await tell('a', 'b', 'c')
  t.like(await verify(), { links: 0, fault: null, mark: 'holds', unchained: { rows: 3 } })
  await claim()
  await tell('d')
  t.like(await verify(), { links: 3, fault: null, mark: 'holds', unchained: { rows: 1 } })
})

test('the database itself refuses to change or remove rows, and to link them twice', async (t) => {
  const { tell, claim, db } = await open(t)
  await tell('a', 'b')
  await claim()
  for (const statement of [
    `update audit set subject = 'nobody'`,
    'delete from audit',
    'truncate audit',
    'update audit set chain_seq = 3 - chain_seq',
    'update audit set chain_seq = null, hash = null',
  ]) {
    await t.throwsAsync(db.query(statement), { message: /append-only/ }, statement)
  }
})

test('a head that was set back, with the mark it had then, is found by the rows beyond it', async (t) => {
  const { tell, claim, verify, tamper, store } = await open(t)
  await tell('a', 'b')
  await claim()
  const before = await store.head()
  const mark = `decode('${before.mark?.bytes.toString('hex')}', 'hex')`
  await tell('c')
  await claim()
  await tamper(
    `update audit set subject = 'nobody' where chain_seq = 3`,
    `update audit_head set seq = 2, hash = decode('${before.hash.toString('hex')}', 'hex'), mark = ${mark}`,
  )
  t.like(await verify(), { links: 2, mark: 'holds', fault: { kind: 'head', seq: 3 } })
})

test('a row that was changed, removed, swapped or put in is found and named', async (t) => {
  const { tell, claim, verify, tamper } = await open(t)
  await tell('a', 'b', 'c', 'd', 'e')
  await claim()
  const undo = `update audit set subject = 'system' where chain_seq = 3`
  await tamper(`update audit set subject = 'nobody' where chain_seq = 3`)
  t.like(await verify(), { links: 2, fault: { kind: 'changed', seq: 3, ordinal: 3 } })
  await tamper(undo)
  t.is((await verify()).fault, null)

  await tamper(
    `update audit set chain_seq = 100 where chain_seq = 2`,
    `update audit set chain_seq = 2 where chain_seq = 4`,
    `update audit set chain_seq = 4 where chain_seq = 100`,
  )
  t.like(await verify(), { links: 1, fault: { kind: 'reordered', seq: 2, ordinal: 4 } })
  await tamper(
    `update audit set chain_seq = 100 where chain_seq = 2`,
    `update audit set chain_seq = 2 where chain_seq = 4`,
    `update audit set chain_seq = 4 where chain_seq = 100`,
  )

  await tamper('delete from audit where chain_seq = 5')
  t.like(await verify(), { links: 4, fault: { kind: 'missing', seq: 5 } })
  await tamper('delete from audit where chain_seq = 2')
  t.like(await verify(), { links: 1, fault: { kind: 'missing', seq: 2 } })
})

test('a chain that was written anew from its first row is found by its mark, and stays unmarked', async (t) => {
  const { sql, tell, claim, verify, tamper } = await open(t)
  await tell('a', 'b', 'c')
  await claim()
  const kept = (await verify()).head
  await tamper(
    `update audit set subject = 'nobody' where ordinal = 2`,
    'update audit set chain_seq = null, hash = null',
    `update audit_head set seq = 0, hash = decode(repeat('00', 32), 'hex'), mark = null, key_id = null`,
  )
  const forger = createAuditChainStore(sql, marksOf(2))
  await createAuditClaimer(forger)()
  t.like(await verify(), { links: 3, mark: 'broken', fault: { kind: 'unmarked', seq: 3 } })
  t.like(await verify(kept), { fault: { kind: 'changed', seq: 3 } })
  await tell('d')
  await claim()
  t.like(await verify(), { links: 4, mark: 'broken', fault: { kind: 'unmarked', seq: 4 } })
})

test('a chain that was cut back to an earlier head is found by a link that was noted down', async (t) => {
  const { db, tell, claim, verify, tamper } = await open(t)
  await tell('a')
  await claim()
  const [head] = await db.query(`select seq, encode(hash, 'hex') as hash, encode(mark, 'hex') as mark from audit_head`)
  await tell('b')
  await claim()
  const noted = (await verify()).head
  await tamper(
    'delete from audit where chain_seq = 2',
    `update audit_head set seq = ${head.seq}, hash = decode('${head.hash}', 'hex'), mark = decode('${head.mark}', 'hex')`,
  )
  t.is((await verify()).fault, null)
  t.like(await verify(noted), { fault: { kind: 'missing', seq: 2 } })
})

test('many writers and two claimers leave one unbroken chain', async (t) => {
  const { url, marks, claim, tell, verify } = await open(t)
  const other = createDataSource({ url, poolSize: 2 })
  await other.initialize()
  t.teardown(() => other.destroy())
  const claimOther = createAuditClaimer(createAuditChainStore(createSql(other), marks))
  const working = new AbortController()
  const keepClaiming = async (round: () => Promise<void>) => {
    while (!working.signal.aborted) await round()
  }
  const claimers = [keepClaiming(claim), keepClaiming(claimOther)]
  const write = async (writer: number) => {
    for (let n = 0; n < 50; n += 1) await tell(`${writer}-${n}`, `${writer}-${n}-too`)
  }
  await Promise.all(Array.from({ length: 6 }, (_, writer) => write(writer)))
  await until('all are linked', async () => (await verify()).unchained.rows === 0)
  working.abort()
  await Promise.all(claimers)
  t.like(await verify(), { links: 600, fault: null, mark: 'holds' })
})

test('a row that commits after later ones were linked is linked then', async (t) => {
  const { db, tell, claim, verify } = await open(t)
  const held = db.createQueryRunner()
  await held.startTransaction()
  await writeAuditWith(held, [entry('late')])
  await tell('early')
  await claim()
  t.like(await verify(), { links: 1, unchained: { rows: 0 } })
  await held.commitTransaction()
  await held.release()
  await claim()
  t.like(await verify(), { links: 2, fault: null, unchained: { rows: 0 } })
  const order = await db.query('select object_name from audit order by chain_seq')
  t.deepEqual(order, [{ object_name: 'early' }, { object_name: 'late' }])
})

test('an audit row stands exactly when the transaction it belongs to does', async (t) => {
  const { db, sql } = await open(t)
  await t.throwsAsync(
    sql.transaction(async (tx) => {
      await writeAudit(tx, [entry('x')])
      throw new Error('changed my mind')
    }),
  )
  t.is((await db.query('select count(*)::int as n from audit'))[0].n, 0)
})

test('text that Postgres cannot keep costs no row, and members named like secrets are hidden', async (t) => {
  const { db, sql } = await open(t)
  await writeAudit(sql, [
    entry(`nul\0 half\ud800 ${'x'.repeat(2_000)}`, {
      detail: { note: 'a\0b\ud800', password: 'hunter2', nested: { apiToken: 'k' } },
    }),
    entry('other'),
  ])
  const rows = await db.query('select object_name, detail from audit order by ordinal')
  t.is(rows.length, 2)
  t.is(rows[0].object_name.length, 500)
  t.deepEqual(rows[0].detail, { note: 'a\ufffdb\ufffd', password: '[redacted]', nested: { apiToken: '[redacted]' } })
})

test('lists are filtered and paged, and a group sees its own rows', async (t) => {
  const { sql, db } = await open(t)
  const audit = createAudit({ reader: createAuditStore(sql), record: () => undefined })
  const group = newId()
  await db.query(`insert into user_group (id, name) values ($1, 'g')`, [group])
  const alice: Caller = { ...SYSTEM_CALLER, subject: 'user:alice', fleetRole: null, groupId: group }
  await writeAudit(sql, [
    ...['a', 'b', 'c'].map((name) => entry(name)),
    entry('d', { by: alice, result: 'refused', code: 'forbidden' }),
    entry('e', { by: anonymous({ id: 'r1', address: '192.0.2.1', method: 'POST', path: '/x' }), result: 'refused' }),
  ])
  const page = { limit: 2 }
  const names = async (caller: Caller, filter = {}, at = page) =>
    (await audit.list(caller, filter, at)).items.map((row) => row.objectName)
  const admin = fleetCaller({ subject: 'user:root', role: 'admin', via: 'token' })
  const first = await audit.list(admin, {}, page)
  t.deepEqual(
    first.items.map((row) => row.objectName),
    ['e', 'd'],
  )
  t.deepEqual(await names(admin, {}, { ...page, cursor: first.nextCursor ?? '' } as typeof page), ['c', 'b'])
  t.deepEqual(await names(admin, { requestId: 'r1' }), ['e'])
  t.deepEqual(await names(admin, { object: 'b', result: 'done', subject: 'system' }), ['b'])
  t.deepEqual(await names(admin, { until: new Date(0) }), [])
  t.deepEqual(await names(alice), ['d'])
  t.deepEqual(await names({ ...alice, fleetRole: 'viewer' }), ['d'])
  await t.throwsAsync(names({ ...alice, role: 'operator' }), { code: 'forbidden' })
  await t.throwsAsync(audit.list(admin, {}, { limit: 1, cursor: 'x' }), { code: 'invalid' })
})

test('refusals are written behind the answer; bursts of unknown callers become a number', async (t) => {
  const { db, sql } = await open(t)
  const recorder = createAuditRecorder({
    write: (entries) => writeAudit(sql, entries),
    isRefusal,
    logger: pino({ level: 'silent' }),
  })
  const stranger = anonymous({ id: 'r', address: '192.0.2.7', method: 'POST', path: '/api/v1/datasets' })
  for (let n = 0; n < 1_000; n += 1)
    recorder.record(entry('x', { by: stranger, result: 'refused', code: 'unauthorized' }))
  for (let n = 0; n < 400; n += 1) recorder.record(entry('y', { result: 'refused', code: 'not_found' }))
  await recorder.stop()
  const [known] = await db.query(`select count(*)::int as n from audit where subject = 'system'`)
  const strangers = await db.query(`select detail from audit where subject = 'anonymous' order by ordinal`)
  t.is(known.n, 301)
  t.is(strangers.length, 31)
  t.deepEqual(strangers.at(-1).detail, { repeats: 970 })
  t.is(recorder.dropped(), 0)
})

test('while Postgres is away refusals wait; what does not fit is counted', async (t) => {
  const { db, sql } = await open(t)
  let isAway = true
  const recorder = createAuditRecorder({
    write: async (entries) => (isAway ? Promise.reject(new Error('away')) : writeAudit(sql, entries)),
    isRefusal,
    logger: pino({ level: 'silent' }),
  })
  // One by one: bursts of refusals would become a number.
  for (let n = 0; n < 20_100; n += 1) recorder.record(entry('x', { result: 'done' }))
  t.is(recorder.dropped(), 100)
  isAway = false
  await until('all are written', async () => (await db.query('select count(*)::int as n from audit'))[0].n === 20_000)
  await recorder.stop()
})

test('ten thousand rows are linked in about a second', async (t) => {
  const { db, claim, verify } = await open(t)
  await db.query(
    `insert into audit (subject, group_id, operation, result, detail) select 'system', $1, 'x', 'done', '{"a": 1}' from generate_series(1, 10000)`,
    [DEFAULT_GROUP_ID],
  )
  const startedAt = performance.now()
  await claim()
  const ms = performance.now() - startedAt
  t.log(`${Math.round(ms)} ms`)
  t.true(ms < 20_000) // about one on a quiet machine
  t.like(await verify(), { links: 10_000, fault: null })
})
