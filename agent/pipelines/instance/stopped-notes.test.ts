import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Instance, Instances } from '../../instances/instances.ts'
import { openStoppedNotes } from './stopped-notes.ts'

test('one that was asked to stop by an agent that died, and still runs, is started once it is down', async (t) => {
  const folder = mkdtempSync('/var/tmp/holdfast-notes-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  let looks = 0
  let isDown = false
  const slow: Pick<Instances, 'find' | 'start'> = {
    async find(id) {
      looks += 1
      isDown ||= looks === 2
      const told: Partial<Instance> = { id, type: 'docker', name: id, state: isDown ? 'STOPPED' : 'RUNNING' }
      return told as Instance // as: of an instance nothing else is looked at
    },
    async start() {
      isDown = false
    },
  }
  // as: of the driver nothing else is asked
  const notes = openStoppedNotes(folder, () => slow as Instances, new AbortController().signal)
  notes.note('job', { type: 'docker', instance: 'slow' })
  const awake = setInterval(() => undefined, 1_000) // an agent has more to do
  t.teardown(() => clearInterval(awake))
  t.is(await notes.startLeft(), 0)
  t.is(looks, 2)
  t.false(isDown)
  t.deepEqual(readdirSync(folder), [])
})

test('one that does not go down is stopped for good, and started; one that somebody started since is left alone', async (t) => {
  const folder = mkdtempSync('/var/tmp/holdfast-notes-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  const acts: string[] = []
  const instances: Pick<Instances, 'find' | 'start' | 'stop'> = {
    // as: of an instance nothing else is looked at
    find: async (id) => ({ id, type: 'lxc', name: id, state: 'RUNNING', pid: 42 }) as Partial<Instance> as Instance,
    start: async (id) => void acts.push(`start ${id}`),
    stop: async (id) => void acts.push(`stop ${id}`),
  }
  // as: of the driver nothing else is asked
  const notes = openStoppedNotes(folder, () => instances as Instances, new AbortController().signal)
  notes.note('a', { type: 'lxc', instance: 'slow' }, 42)
  notes.note('b', { type: 'lxc', instance: 'started' }, 41)
  const longAgo = new Date(Date.now() - 60_000)
  for (const name of readdirSync(folder)) utimesSync(join(folder, name), longAgo, longAgo)
  t.is(await notes.startLeft(), 0)
  t.deepEqual(acts.toSorted(), ['start slow', 'start started', 'stop slow'])
  t.deepEqual(readdirSync(folder), [])
})
