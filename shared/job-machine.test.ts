import test from 'ava'
import { ACTIVE_STATES, isTerminal, JobState, JobTransition, nextJobState } from './job-machine.ts'

test('every state can be left but the three ends', (t) => {
  const ends = JobState.options.filter(isTerminal)
  t.deepEqual(ends, ['succeeded', 'failed', 'cancelled'])
  t.is(ACTIVE_STATES.length + ends.length, JobState.options.length)
})

test('nothing that happens to an ended job changes it', (t) => {
  for (const end of ['succeeded', 'failed', 'cancelled'] as const) {
    for (const event of JobTransition.options) t.is(nextJobState(end, event), undefined)
  }
})

test("an agent's word may overtake our own bookkeeping", (t) => {
  for (const state of ['queued', 'dispatched'] as const) {
    t.is(nextJobState(state, 'start'), 'running')
    t.is(nextJobState(state, 'progress'), 'running')
    t.is(nextJobState(state, 'succeed'), 'succeeded')
    t.is(nextJobState(state, 'fail'), 'failed')
  }
})

test('a job that was sent is cancelled only when its agent confirms', (t) => {
  t.is(nextJobState('queued', 'cancel'), 'cancelled')
  t.is(nextJobState('dispatched', 'cancel'), 'cancelling')
  t.is(nextJobState('running', 'cancel'), 'cancelling')
  t.is(nextJobState('cancelling', 'expire'), 'cancelling')
  t.is(nextJobState('cancelling', 'stop'), 'cancelled')
  t.is(nextJobState('cancelling', 'succeed'), 'succeeded')
})
