import { join } from 'node:path'
import { openInstances } from '../../agent/instances/open-instances.ts'
import { createHoldTurns } from '../../agent/pipelines/instance/hold-turns.ts'
import { standStill } from '../../agent/pipelines/instance/standstill.ts'
import { openStoppedNotes } from '../../agent/pipelines/instance/stopped-notes.ts'

/** A process to be killed: stops a container of LXC's for a job, says `stopped`, and hangs. Argument: JSON `{lxcPath, state, id, jobId}`. */
const { lxcPath, state, id, jobId } = JSON.parse(process.argv[2] ?? '{}')
const { signal } = new AbortController()
const instances = openInstances({ lxcPath, dockerSocket: '', state })
const stopped = openStoppedNotes(join(state, 'stopped'), instances.get, signal)
await standStill({
  instances: instances.get('lxc'),
  stopped,
  jobId,
  id,
  hold: 'stop',
  turns: createHoldTurns(),
  maxMs: 1,
  signal,
})
process.stdout.write('stopped\n')
process.stdin.resume()
