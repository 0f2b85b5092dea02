import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { imageSize } from './loop-image.ts'
import { openPool } from './pool.ts'
import { StartError } from './start-error.ts'
import { findTool } from './tools.ts'

const GIB = 1024 ** 3

function agentFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast pool-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

function loopDevicesOf(folder: string): readonly string[] {
  const losetup = findTool('losetup')
  if (!losetup) return []
  const files = execFileSync(losetup, ['--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' }).split('\n')
  return files.filter((file) => file.startsWith(folder))
}

/** Of the mount at that path. */
function optionsOf(path: string): readonly string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const mount = mounts.find((line) => line.split(' ')[4] === path.replaceAll(' ', '\\040'))
  return mount?.split(' ')[5]?.split(',') ?? []
}

test('an image may grow to 64 GiB or most of what is free', (t) => {
  t.is(imageSize(1000 * GIB), 64 * GIB)
  t.is(imageSize(10 * GIB), 8 * GIB)
})

test('a simulated pool stays one when it is opened without being asked for', async (t) => {
  const folder = agentFolder(t)
  t.is((await openPool(folder, { sim: true })).driver, 'sim')
  t.is((await openPool(folder, { sim: false })).driver, 'sim')
})

test('a pool that is a btrfs image is never replaced by an empty directory', async (t) => {
  const folder = agentFolder(t)
  writeFileSync(join(folder, 'pool.json'), JSON.stringify({ driver: 'btrfs' }))
  writeFileSync(join(folder, 'pool.img'), 'not a file system')
  const refusal = await t.throwsAsync(openPool(folder, { sim: false }), { instanceOf: StartError })
  t.regex(refusal.message, /cannot be mounted/)
  t.deepEqual(loopDevicesOf(folder), [])
})

test('the best pool this machine can have keeps its files and leaves neither mount nor loop device', async (t) => {
  const folder = agentFolder(t)
  const first = await openPool(folder, { sim: false })
  t.log(`${first.driver} ${first.note ?? ''}`)
  const isRoot = process.getuid?.() === 0
  if (isRoot && findTool('mkfs.btrfs') && existsSync('/dev/loop-control')) t.is(first.driver, 'btrfs')
  if (first.driver === 'btrfs') t.true(optionsOf(first.path).includes('nodev'))
  writeFileSync(join(first.path, 'word'), 'kept')

  const again = await openPool(folder, { sim: false })
  t.is(readFileSync(join(again.path, 'word'), 'utf8'), 'kept', 'as after a crash: what is mounted is used')
  await again.close()
  t.is(statSync(first.path).dev, statSync(folder).dev)
  t.deepEqual(loopDevicesOf(folder), [])

  const later = await openPool(folder, { sim: false })
  t.is(later.driver, first.driver)
  t.is(readFileSync(join(later.path, 'word'), 'utf8'), 'kept')
  await later.close()
})

test('closing a pool that is in use does not wait for its user', async (t) => {
  const folder = agentFolder(t)
  const pool = await openPool(folder, { sim: false })
  const user = spawn('/bin/sleep', ['60'], { cwd: pool.path })
  t.teardown(() => user.kill('SIGKILL'))
  await pool.close()
  if (pool.driver === 'btrfs') t.is(statSync(pool.path).dev, statSync(folder).dev)
  t.pass()
})
