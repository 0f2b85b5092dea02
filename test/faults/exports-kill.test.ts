import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { JobEvent } from '../../shared/job-event.ts'
import { ExportsCreated, ExportsDeleted } from '../../shared/volume-spec.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { elementOf, goldenImage, observe, openExportHost, unexportOf } from '../harness/export-host.ts'
import { type LastingHost, openLasting, runAsAgent } from '../harness/export-run.ts'
import { freePort } from '../harness/free-port.ts'
import { lacksExports } from '../harness/lacks-exports.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { TestProcess } from '../harness/process.ts'
import { type Place, stepsIn } from '../harness/steps.ts'
import { testUnless } from '../harness/system-packages.ts'

const ELEMENTS = 30

testUnless(lacksExports())(
  'an agent that is killed anywhere in a list of exports ends it well, or with nothing of it',
  async (t) => {
    const state = join(temporaryDirectory(t), 'state')
    const path = join(mountLoop(t, 'xfs'), 'pool')
    for (const folder of [state, path]) mkdirSync(folder)
    const host: LastingHost = { state, path, portal: `127.0.0.1:${await freePort()}`, driver: 'reflink' }
    t.teardown(async () => {
      const { driver, ...place } = host
      await using ending = await openExportHost({ ...place, pools: { a: { driver, path } } })
      await ending.exports.restore(AbortSignal.timeout(10_000))
    })
    const steps = stepsIn(temporaryDirectory(t))
    const world = async () => {
      await using opened = await openLasting(host)
      return await observe(opened)
    }
    const agent = (order: WorkOrder) =>
      new TestProcess({
        name: 'agent',
        command: process.execPath,
        args: [join(import.meta.dirname, '../harness/export-run.ts'), JSON.stringify({ host, order })],
        environment: { PATH: process.env.PATH ?? '', ...steps.environment },
        workingDirectory: join(import.meta.dirname, '../..'),
        logPath: join(state, 'agent.log'),
        stopSignal: 'SIGTERM',
        stopTimeoutMs: 1_000,
      })

    const before = elementOf(0)
    const elements = [before, ...Array.from({ length: ELEMENTS }, (_, n) => elementOf(n + 1))]
    const orderOf = (spec: WorkOrder['spec']): WorkOrder => ({ jobId: randomUUID(), attempt: 1, spec, notAfter: null })
    const creating = () => orderOf({ kind: 'export.create', elements })
    const deleting = () => orderOf({ kind: 'export.delete', elements: elements.slice(1).map((one) => unexportOf(one)) })
    {
      await using opened = await openLasting(host)
      await goldenImage(opened.volumes('a'))
    }
    await runAsAgent(host, { order: orderOf({ kind: 'export.create', elements: [before] }) })
    const nothing = await world()
    const undisturbed = created(await runAsAgent(host, { order: creating() }))
    t.deepEqual(undisturbed.reused, [true, ...Array.from({ length: ELEMENTS }, () => false)])
    const all = await world()
    await runAsAgent(host, { order: deleting() })
    t.deepEqual(await world(), nothing)

    const gates = [
      ['look', 'after', 0],
      ['clone', 'before', 4],
      ['targets', 'before', 4],
      ['targets', 'after', 0],
    ] as const
    const killed = async (order: WorkOrder, step: string, place: Place, killAfterMs: number) => {
      steps.set({ step, place, act: { killAfterMs } })
      const process = agent(order)
      process.start()
      await steps.died(process)
    }
    for (const [index, [step, place, afterMs]] of gates.entries()) {
      const title = `${place} ${step} ${afterMs}`
      const order = creating()
      await killed(order, step, place, afterMs)
      // The last but one finds that it was cancelled meanwhile.
      const cancels = index === gates.length - 2
      const end = await runAsAgent(host, { order, cancels })
      if (cancels) {
        t.is(end.type, 'stop', title)
        t.deepEqual(await world(), nothing, title)
        continue
      }
      t.deepEqual(created(end), undisturbed, title)
      t.deepEqual(await world(), all, title)
      const deletion = deleting()
      if (index < 2) await killed(deletion, index === 0 ? 'targets' : 'clone', 'before', 5)
      const deleted = await runAsAgent(host, { order: deletion })
      t.is(deleted.type, 'succeed')
      t.deepEqual(ExportsDeleted.parse('result' in deleted ? deleted.result : undefined).errors, [])
      t.deepEqual(await world(), nothing, title)
    }
  },
)

function created(end: JobEvent) {
  const { done, errors } = ExportsCreated.parse('result' in end ? end.result : end)
  return { reused: done.map(({ reused }) => reused), diverged: done.map(({ diverged }) => diverged), errors }
}
