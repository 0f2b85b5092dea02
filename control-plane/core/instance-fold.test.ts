import test from 'ava'
import type { ReportedInstance } from '../../shared/instance-spec.ts'
import { foldInstances, type InstanceReport, type StandingInstance } from './instance-fold.ts'

const LXC = { type: 'lxc', listed: true, problem: null } as const
const TAKEN_MS = 1_000

function item(name: string, rest: Partial<ReportedInstance> = {}): ReportedInstance {
  return { type: 'lxc', instance: name, name, state: 'RUNNING', configHash: 'a', mounts: [], ...rest }
}

function row(id: string, rest: Partial<StandingInstance> = {}): StandingInstance {
  const told = { type: 'lxc' as const, ref: id, name: id, state: 'RUNNING' as const, mounts: [], configHash: 'a' }
  return { id, ...told, isBeingMade: false, settledAtMs: null, goneAtMs: null, ...rest }
}

function fold(rows: readonly StandingInstance[], report: Partial<InstanceReport>) {
  let count = 0
  return foldInstances(rows, { takenAtMs: TAKEN_MS, types: [LXC], items: [], ...report }, () => {
    count += 1
    return `new-${count}`
  })
}

const NOTHING = { kept: [], gone: [], forgotten: [], problems: [], isWhole: true }

test('a list that tells nothing new writes nothing', (t) => {
  const mounts = [{ destination: '/d', source: '/s', kind: 'bind', volume: null, readonly: false }] as const
  t.deepEqual(fold([row('a', { mounts: [...mounts] })], { items: [item('a', { mounts: [...mounts] })] }), NOTHING)
})

test('what is new gets an id, what changed keeps its own, and what is told twice is told once', (t) => {
  const { kept } = fold([row('a')], { items: [item('a', { state: 'STOPPED' }), item('b'), item('b')] })
  t.deepEqual(
    kept.map(({ id, name, state }) => [id, name, state]),
    [
      ['a', 'a', 'STOPPED'],
      ['new-1', 'b', 'RUNNING'],
    ],
  )
})

test('what is listed no more is gone, and when it comes back it is the one that went last', (t) => {
  t.deepEqual(fold([row('a')], {}), { ...NOTHING, gone: ['a'] })
  const gone = [row('old', { ref: 'a', goneAtMs: 1 }), row('last', { ref: 'a', goneAtMs: 9 })]
  t.deepEqual(
    fold(gone, { items: [item('a')] }).kept.map(({ id }) => id),
    ['last'],
  )
})

test('a name that comes back after a day is another one, unless it is set up as the one that had it', (t) => {
  const nowMs = 10 * 86_400_000
  const back = (awayMs: number, rest: Partial<ReportedInstance>, type: 'lxc' | 'docker' = 'lxc') => {
    const gone = row('old', { type, ref: 'a', goneAtMs: nowMs - awayMs, configHash: 'a' })
    const types = [{ ...LXC, type }]
    const folded = fold([gone], { takenAtMs: nowMs, types, items: [item('a', { type, ...rest })] })
    return folded.kept.map(({ id }) => id)[0]
  }
  t.is(back(86_400_000, { configHash: 'other' }), 'old')
  t.is(back(86_400_001, { configHash: 'other' }), 'new-1')
  t.is(back(86_400_001, { configHash: null }), 'new-1')
  t.is(back(86_400_001, { configHash: 'a' }), 'old')
  t.is(back(86_400_001, { configHash: 'other' }, 'docker'), 'old')
})

test('nobody is gone because tools failed, were never asked, or are served no more', (t) => {
  const rows = [row('a'), row('b', { type: 'docker' })]
  const types = [{ type: 'lxc', listed: false, problem: 'unavailable: no tools' }] as const
  const { problems, ...rest } = fold(rows, { types })
  t.deepEqual({ ...rest, problems: [] }, NOTHING)
  t.deepEqual(problems[0], { type: 'lxc', message: 'unavailable: no tools' })
  t.is(problems[1]?.type, 'docker')
  t.is(problems.length, 2)
})

test('what a job left behind after the list was taken stays, and the host is asked again', (t) => {
  const settled = row('a', { state: 'STOPPED', settledAtMs: TAKEN_MS })
  t.deepEqual(fold([settled], { items: [item('a')] }), { ...NOTHING, isWhole: false })
  t.deepEqual(fold([settled], {}), { ...NOTHING, isWhole: false })
  t.is(fold([{ ...settled, settledAtMs: TAKEN_MS - 1 }], { items: [item('a')] }).kept[0]?.state, 'RUNNING')
})

test('one that a job makes is told by the job, and one that it makes anew is not gone meanwhile', (t) => {
  const making = row('mine', { ref: null, name: 'web', state: 'CREATING', isBeingMade: true })
  t.deepEqual(fold([making], { items: [item('web')] }), { ...NOTHING, isWhole: false })
  t.deepEqual(fold([row('a', { isBeingMade: true })], {}), { ...NOTHING, isWhole: false })
})

test('a host that tells others every time leaves a bounded number of rows', (t) => {
  const gone = Array.from({ length: 5_003 }, (_, n) => row(`g${n}`, { goneAtMs: n + 1 }))
  const { forgotten, kept } = fold(gone, { items: [item('g0')] })
  t.is(kept[0]?.id, 'g0')
  t.deepEqual(forgotten, ['g2', 'g1'])
})
