import { readFileSync } from 'node:fs'
import { Writable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import test from 'ava'
import { run } from './run.ts'

const never = new AbortController().signal
const POLL_MS = 10

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
  } catch {
    return false
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(POLL_MS)
}

test('exit code, output and a fixed environment come back', async (t) => {
  const script = 'echo "$LC_ALL $TZ"; echo bad >&2; exit 3'
  const result = await run('/bin/sh', ['-c', script], { signal: never, timeoutMs: 5_000 })
  t.deepEqual(result, { exitCode: 3, signal: null, stdout: 'C UTC\n', stderr: 'bad\n' })
})

test('arguments are never words of a shell', async (t) => {
  const { stdout } = await run('/bin/echo', ['$HOME; ls', '*'], { signal: never, timeoutMs: 5_000 })
  t.is(stdout, '$HOME; ls *\n')
})

test('output beyond its bound is dropped', async (t) => {
  const options = { signal: never, timeoutMs: 5_000, maxOutputBytes: 1_000 }
  const { stdout, exitCode } = await run('/usr/bin/head', ['-c', '1000000', '/dev/zero'], options)
  t.is(stdout.length, 1_000)
  t.is(exitCode, 0)
})

test('input arrives on stdin', async (t) => {
  const { stdout } = await run('/bin/cat', [], { signal: never, timeoutMs: 5_000, input: 'secret' })
  t.is(stdout, 'secret')
})

test('a cancel ends the grandchild too, even one that ignores TERM', async (t) => {
  const cancel = new AbortController()
  const directory = (await run('/bin/mktemp', ['-d'], { signal: never, timeoutMs: 5_000 })).stdout.trim()
  t.teardown(() => run('/bin/rm', ['-r', directory], { signal: never, timeoutMs: 5_000 }))
  const file = `${directory}/pid`
  const script = `trap '' TERM; /bin/sleep 1000 & echo $! > ${file}.new; mv ${file}.new ${file}; wait; sleep 1000`
  const running = run('/bin/sh', ['-c', script], { signal: cancel.signal, timeoutMs: 60_000, graceMs: 50 })
  let pid = 0
  await until(() => {
    try {
      pid = Number(readFileSync(file, 'utf8'))
    } catch {
      pid = 0
    }
    return pid > 0
  })
  cancel.abort()
  await t.throwsAsync(running, { code: 'cancelled' })
  await until(() => !isAlive(pid))
  t.pass()
})

test('what takes too long is ended and says so', async (t) => {
  const running = run('/bin/sleep', ['1000'], { signal: never, timeoutMs: 50 })
  await t.throwsAsync(running, { code: 'internal', message: 'sleep took longer than 50 ms' })
})

test('a program that is not there is an exit code of its launcher', async (t) => {
  const result = await run('/nowhere/tool', [], { signal: never, timeoutMs: 5_000 })
  t.is(result.exitCode, 127)
})

test('output is handed on as it comes, and a taker that throws ends the child', async (t) => {
  let bytes = 0
  const onOutput = (chunk: Buffer) => {
    bytes += chunk.length
  }
  const { stdout } = await run('/usr/bin/head', ['-c', '3000000', '/dev/zero'], {
    signal: never,
    timeoutMs: 5_000,
    onOutput,
  })
  t.is(bytes, 3_000_000)
  t.is(stdout, '')
  const refuse = () => {
    throw new Error('enough')
  }
  const endless = run('/usr/bin/yes', [], { signal: never, timeoutMs: 60_000, onOutput: refuse })
  await t.throwsAsync(endless, { message: 'enough' })
})

test('a stream takes output at its own pace, and one that fails ends the child', async (t) => {
  let bytes = 0
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _, done) {
      bytes += chunk.length
      setImmediate(done)
    },
  })
  const { exitCode } = await run('/usr/bin/head', ['-c', '3000000', '/dev/zero'], {
    signal: never,
    timeoutMs: 5_000,
    output: slow,
  })
  t.is(exitCode, 0)
  t.is(bytes, 3_000_000)
  t.true(slow.writableEnded)
  const full = new Writable({ write: (_chunk, _encoding, done) => done(new Error('full')) })
  const endless = run('/usr/bin/yes', [], { signal: never, timeoutMs: 60_000, output: full })
  await t.throwsAsync(endless, { message: 'full' })
})
