import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { identify, isAlive } from './process-identity.ts'
import { ProcessRecord } from './process-record.ts'
import { type Ending, type ProcessSpec, restartDelayMs, SupervisedProcess } from './supervised-process.ts'

const BACKOFF = { firstMs: 10, maxMs: 40, stableMs: 60_000 }

interface Watched {
  readonly child: SupervisedProcess
  readonly pids: number[]
  readonly endings: Ending[]
  /** Resolves when `count` processes have been started. */
  spawned(count: number): Promise<void>
}

function supervise(t: ExecutionContext, script: string, spec: Partial<ProcessSpec> = {}): Watched {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-supervised-'))
  const pids: number[] = []
  const endings: Ending[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  const child = new SupervisedProcess(
    {
      name: 'child',
      command: process.execPath,
      args: ['-e', script],
      environment: {},
      workingDirectory: folder,
      logPath: join(folder, 'child.log'),
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 5_000,
      ...spec,
    },
    {
      deathSignalTool: undefined,
      backoff: BACKOFF,
      onSpawn(_name, pid) {
        pids.push(pid)
        for (const { count, resolve } of waiting) if (pids.length >= count) resolve()
      },
      onExit: (_name, ending) => endings.push(ending),
    },
  )
  t.teardown(async () => {
    await child.stop()
    rmSync(folder, { recursive: true })
  })
  const spawned = (count: number) =>
    new Promise<void>((resolve) => {
      if (pids.length >= count) resolve()
      else waiting.push({ count, resolve })
    })
  return { child, pids, endings, spawned }
}

test('the wait before a restart doubles and is bounded', (t) => {
  const delays = [1, 2, 3, 4, 50].map((failures) =>
    restartDelayMs(failures, { firstMs: 200, maxMs: 1_000, stableMs: 0 }),
  )
  t.deepEqual(delays, [200, 400, 800, 1_000, 1_000])
})

test('a process that dies is started again, later each time', async (t) => {
  const { child, endings, spawned } = supervise(t, 'process.exit(3)')
  await spawned(4)
  t.deepEqual(
    endings.slice(0, 3).map(({ reason, restartInMs }) => `${reason}, ${restartInMs}`),
    ['exit code 3, 10', 'exit code 3, 20', 'exit code 3, 40'],
  )
  t.true(child.failures >= 3)
})

test('a process that is killed is started again', async (t) => {
  const { pids, endings, spawned } = supervise(t, 'setInterval(() => {}, 1000)')
  await spawned(1)
  process.kill(pids[0] ?? 0, 'SIGKILL')
  await spawned(2)
  t.is(endings[0]?.reason, 'signal SIGKILL')
  t.not(pids[0], pids[1])
})

test('a program that is not there counts as one that dies', async (t) => {
  const { child, endings } = supervise(t, '', { command: '/nonexistent/program' })
  while (endings.length < 2) await new Promise(setImmediate)
  t.regex(endings[0]?.reason ?? '', /ENOENT/)
  await child.stop()
})

test('stopping ends the process by its stop signal and starts it no more', async (t) => {
  const { child, pids, endings, spawned } = supervise(t, 'setInterval(() => {}, 1000)')
  await spawned(1)
  await child.stop()
  t.deepEqual(endings, [{ reason: 'signal SIGTERM', restartInMs: undefined }])
  t.is(identify(pids[0] ?? 0), undefined)
})

test('stopping while it waits for a restart starts it no more', async (t) => {
  const { child, pids, endings } = supervise(t, 'process.exit(1)')
  while (endings.length === 0) await new Promise(setImmediate)
  await child.stop()
  const started = pids.length
  await new Promise((resolve) => setTimeout(resolve, BACKOFF.maxMs * 2))
  t.is(pids.length, started)
})

test('a process that ignores its stop signal is killed when its time is over', async (t) => {
  const script = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000); console.log("deaf")'
  const { child, endings, spawned } = supervise(t, script, { stopTimeoutMs: 100 })
  await spawned(1)
  while (!readFileSync(child.spec.logPath, 'utf8').includes('deaf')) await new Promise(setImmediate)
  await child.stop()
  t.is(endings.at(-1)?.reason, 'signal SIGKILL')
})

test('the next start ends what a crashed one left, and nothing that only has its pid', async (t) => {
  const { child, pids, spawned } = supervise(t, 'setInterval(() => {}, 1000)')
  await spawned(1)
  const path = join(child.spec.workingDirectory, 'processes.json')
  const [pid = 0] = pids
  const left = identify(pid)
  new ProcessRecord(path).add('child', pid)
  t.deepEqual(await new ProcessRecord(path).endSurvivors(), ['child'])
  t.false(left !== undefined && isAlive(left))
  t.deepEqual(await new ProcessRecord(path).endSurvivors(), [])
  t.deepEqual(JSON.parse(readFileSync(path, 'utf8')), [])
})
