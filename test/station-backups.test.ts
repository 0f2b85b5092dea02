import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { SYSTEM_CALLER } from '../control-plane/core/caller.ts'
import { createClock } from '../control-plane/db/stores/clock-store.ts'
import { createStationStore } from '../control-plane/db/stores/station-store.ts'
import { createStationBackups } from '../control-plane/station/backups.ts'
import { writeBackup } from '../control-plane/station/write-backup.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { startDatabase } from './harness/database.ts'
import { temporaryDirectory } from './harness/loop-mount.ts'
import { until } from './harness/until.ts'

const DAY_SECONDS = 86_400

test('one replica makes what is due; what fails takes nothing away, and is told once until one is good', async (t) => {
  const { sql, db, url } = await startDatabase(t)
  const shelf = temporaryDirectory(t)
  const told: string[] = []
  // Due ten seconds ago, by the clock of every day.
  const startSeconds = (Math.floor(Date.now() / 1000) - 10) % DAY_SECONDS
  let gate: Promise<void> = Promise.resolve()
  const replica = (directory: string) => {
    const store = createStationStore(sql, newId())
    const backups = createStationBackups({
      ...{ store, station: store.station, now: createClock(sql), webhook: true },
      settings: { directory, keep: 1, recurrence: { repeat: 'daily', startSeconds, timezone: 'UTC' } },
      async write(id, signal) {
        await gate
        return writeBackup({ url, directory, id, recipients: [], keys: [], signal })
      },
      afterCommit: ({ events }) => told.push(...events.map(({ json }) => JSON.parse(json).type)),
      logger: createLogger('test', 'error'),
    })
    t.teardown(() => backups.stop())
    return { store, ...backups }
  }
  const [a, b, broken] = [replica(shelf), replica(shelf), replica(join(shelf, 'none'))]
  const rows = async () => (await a.store.list({ limit: 50 })).items
  const settled = () => until('none is under way', async () => (await rows()).every(({ state }) => state !== 'running'))

  await Promise.all([a.tick(), b.tick(), a.tick(), b.tick()])
  await settled()
  t.deepEqual(
    (await rows()).map(({ state, trigger }) => [state, trigger]),
    [['good', 'due']],
  )
  await Promise.all([a.tick(), b.tick()])
  t.is((await rows()).length, 1, 'it is met')

  // A day later, and the directory is not there.
  await db.query(`update station_backup set started_at = started_at - interval '1 day'`)
  await broken.tick()
  await settled()
  await broken.tick()
  await Promise.all([a.tick(), b.tick()])
  t.like((await rows())[0], {
    state: 'failed',
    file: null,
    reason: `the directory ${join(shelf, 'none')} is not there`,
  })
  t.is((await rows()).length, 2, 'it is not tried again at once')
  t.deepEqual(told, ['station.backup_overdue'])
  t.true(a.state().overdue)
  t.is(readdirSync(shelf).length, 1, 'the last good one stays')
  const [alert] = await db.query('select body from alert')
  t.like(alert.body, { type: 'station.backup_overdue', reason: (await rows())[0]?.reason })

  // Somebody asks for one, and once only; then the older makes way.
  const { promise, resolve } = Promise.withResolvers<void>()
  gate = promise
  const asked = await a.begin(SYSTEM_CALLER)
  await t.throwsAsync(b.begin(SYSTEM_CALLER), { code: 'conflict' })
  resolve()
  await settled()
  await b.tick()
  t.deepEqual(told, ['station.backup_overdue', 'station.backup_recovered'])
  await until(
    'the older is gone',
    async () => (await rows()).filter(({ evictedAt }) => evictedAt !== null).length === 1,
  )
  t.deepEqual(readdirSync(shelf), [(await rows()).find(({ id }) => id === asked.id)?.file?.replace(/.*\//, '')])

  // One whose replica died is not waited for.
  gate = new Promise(() => undefined)
  const dead = await a.store.beginAsked(SYSTEM_CALLER)
  await db.query(`update station_backup set lease = now() - interval '1 second' where id = $1`, [dead?.id])
  gate = Promise.resolve()
  await b.begin(SYSTEM_CALLER)
  await settled()
  t.like(
    (await rows()).find(({ id }) => id === dead?.id),
    { state: 'failed', reason: 'the control plane ended in the middle of it' },
  )
})
