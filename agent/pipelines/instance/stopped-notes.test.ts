import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
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
