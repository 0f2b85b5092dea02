import test from 'ava'
import { newId } from '../../shared/ids.ts'
import type { JobEvent, JobReport } from '../../shared/job-event.ts'
import { applyReports, cancelJob, expireJob, type LockedJob, MAX_ATTEMPTS, settlementOf } from './job-change.ts'

const target = { pool: 'main', dataset: newId() }
const made = { rootInode: 256, mountpoint: '/pool/x', atomic: true, cow: true }

function job(over: Partial<LockedJob> = {}): LockedJob {
  return {
    id: newId(),
    groupId: newId(),
    kind: 'dataset.create',
    spec: { kind: 'dataset.create', target },
    host: 'a',
    state: 'dispatched',
    attempt: 1,
    heardDelivery: 0,
    heardSeq: 0,
    announced: true,
    datasetId: target.dataset,
    datasetName: 'x',
    ...over,
  }
}

function report(of: LockedJob, events: JobEvent[], over: Partial<JobReport> = {}) {
  return { host: 'a', report: { jobId: of.id, attempt: 1, delivery: 1, events, ...over } }
}

const start: JobEvent = { type: 'start', seq: 1, at: 0 }
const progress: JobEvent = { type: 'progress', seq: 2, at: 0, progress: { phase: 'copy', percent: 40 } }
const succeed: JobEvent = { type: 'succeed', seq: 3, at: 0, result: made, phases: [] }

test('a run is folded in one go, and every state it passed is told', (t) => {
  const change = applyReports(job(), [report(job(), [start, progress, succeed])])
  t.is(change?.state, 'succeeded')
  t.deepEqual(change?.passed, ['running', 'succeeded'])
  t.deepEqual(change?.heard, { delivery: 1, seq: 3 })
})

test('a success reported by a superseded attempt does not finish the job', (t) => {
  const current = job({ state: 'running', attempt: 2 })
  t.is(applyReports(current, [report(current, [succeed], { attempt: 1 })]), undefined)
})

test("another host's word is ignored", (t) => {
  const current = job()
  t.is(applyReports(current, [{ ...report(current, [succeed]), host: 'b' }]), undefined)
})

test('an event heard before, or of an earlier beginning, changes nothing', (t) => {
  const current = job({ state: 'running', heardDelivery: 2, heardSeq: 2 })
  t.is(applyReports(current, [report(current, [start, progress], { delivery: 1 })]), undefined)
  t.is(applyReports(current, [report(current, [start, progress], { delivery: 2 })]), undefined)
  t.is(applyReports(current, [report(current, [start, progress, succeed], { delivery: 2 })])?.state, 'succeeded')
})

test('an end is news even from an agent that lost its journal and counts from the beginning again', (t) => {
  const current = job({ state: 'cancelling', heardDelivery: 2, heardSeq: 9 })
  const stop: JobEvent = { type: 'stop', seq: 1, at: 0, phases: [] }
  t.is(applyReports(current, [report(current, [stop])])?.state, 'cancelled')
})

test('a job that went back to the queue was sent once, so its agent must confirm that it stopped', (t) => {
  const failure = { code: 'cancelled', message: '' } as const
  t.is(cancelJob(job({ state: 'queued', attempt: 1 }), failure, false)?.state, 'cancelled')
  t.is(cancelJob(job({ state: 'queued', attempt: 2 }), failure, false)?.state, 'cancelling')
})

test('a success without a usable result fails the job', (t) => {
  const change = applyReports(job(), [report(job(), [{ ...succeed, result: { rootInode: 'x' } }])])
  t.is(change?.state, 'failed')
  t.is(change?.error?.code, 'internal')
})

test('a lost lease is a new attempt, the last one a failure, and a cancelling job waits on', (t) => {
  t.like(expireJob(job({ state: 'running' })), { state: 'queued', attempt: 2 })
  t.like(expireJob(job({ state: 'running', attempt: MAX_ATTEMPTS })), { state: 'failed', attempt: MAX_ATTEMPTS })
  t.is(expireJob(job({ state: 'cancelling' })), undefined)
  t.is(expireJob(job({ state: 'succeeded' })), undefined)
})

test('the end of a job settles its dataset', (t) => {
  const created = applyReports(job(), [report(job(), [succeed])])
  t.like(created && settlementOf(created), { act: 'made', rootInode: 256, fuzzy: false })
  const stopped = cancelJob(job({ state: 'queued' }), { code: 'cancelled', message: '' }, false)
  t.like(stopped && settlementOf(stopped), { act: 'drop' })
  const removal = job({ kind: 'dataset.delete', spec: { kind: 'dataset.delete', target }, state: 'queued' })
  const kept = cancelJob(removal, { code: 'cancelled', message: '' }, false)
  t.like(kept && settlementOf(kept), { act: 'keep' })
  const going = cancelJob(job(), { code: 'cancelled', message: '' }, false)
  t.is(going && settlementOf(going), undefined)
})
