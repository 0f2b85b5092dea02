import { connect, createServer, type Socket } from 'node:net'
import test from 'ava'
import { z } from 'zod'
import { listen } from '../control-plane/db/listen.ts'
import { isRefusal, statement } from '../control-plane/db/sql.ts'
import { createLogger } from '../shared/logger.ts'
import { startDatabase } from './harness/database.ts'
import { until } from './harness/until.ts'

test('a commit that fails is a failure, also when its statement has answered', async (t) => {
  const { db, sql } = await startDatabase(t)
  await db.query('create table once (n integer unique deferrable initially deferred)')
  const insert = statement('test_insert', z.object({ n: z.number() }), 'insert into once values ($1) returning n')
  t.deepEqual(await sql.transaction((tx) => tx.rowsAndCommit(insert, [1])), [{ n: 1 }])
  const error = await t.throwsAsync(sql.transaction((tx) => tx.rowsAndCommit(insert, [1])))
  t.true(isRefusal(error))
  t.deepEqual(await db.query('select n from once'), [{ n: 1 }])
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
