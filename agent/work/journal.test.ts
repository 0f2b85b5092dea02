import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { newId } from '../../shared/ids.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { openJournal } from './journal.ts'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-journal-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

function order(): WorkOrder {
  return {
    jobId: newId(),
    attempt: 1,
    spec: { kind: 'dataset.create', target: { pool: 'p', dataset: newId() } },
    notAfter: null,
  }
}

const ended = { attempt: 1, delivery: 1, event: { type: 'stop' as const, seq: 1, at: 0, phases: [] } }

test('what was begun, staged and ended is known to the next process', async (t) => {
  const path = folder(t)
  const first = openJournal(path)
  const [going, done] = [order(), order()]
  first.begin(going)
  await first.stage(going.jobId, '5:7')
  first.begin(done)
  first.end(done.jobId, ended)
  first.close()

  const second = openJournal(path)
  t.deepEqual(
    second.unfinished().map((entry) => entry.jobId),
    [going.jobId],
  )
  t.is(second.get(going.jobId)?.staged, '5:7')
  t.deepEqual(
    second.unconfirmed().map((entry) => entry.jobId),
    [done.jobId],
  )
  t.is(second.begin(going).delivery, 2)
  second.confirm(done.jobId)
  second.close()
  t.deepEqual(openJournal(path).unconfirmed(), [])
})

test('a torn last line is dropped and the rest is kept', (t) => {
  const path = folder(t)
  const journal = openJournal(path)
  const first = order()
  journal.begin(first)
  journal.close()
  appendFileSync(join(path, 'journal.ndjson'), '{"t":"end","jobId":"')
  t.deepEqual(
    openJournal(path)
      .unfinished()
      .map((entry) => entry.jobId),
    [first.jobId],
  )
})

test('confirmed ends age out when the journal is opened again', (t) => {
  const path = folder(t)
  const journal = openJournal(path, () => 0)
  const first = order()
  journal.begin(first)
  journal.end(first.jobId, ended)
  journal.confirm(first.jobId)
  journal.close()
  const week = 7 * 24 * 3_600_000
  t.truthy(openJournal(path, () => week - 1).get(first.jobId))
  t.is(openJournal(path, () => week + 1).get(first.jobId), undefined)
  t.is(readFileSync(join(path, 'journal.ndjson'), 'utf8'), '')
})

test('syncs that come together share their work, and one that comes late is not left out', async (t) => {
  const journal = openJournal(folder(t))
  await Promise.all(Array.from({ length: 50 }, () => journal.stage(newId(), 'x')))
  await journal.sync()
  t.pass()
})
