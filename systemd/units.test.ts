import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { findTool } from '../deploy/tools.ts'

const UNITS = import.meta.dirname

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-systemd-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

function skipped(t: ExecutionContext, why: string): void {
  t.log(`skipped: ${why}`)
  t.pass()
}

test('systemd-analyze has nothing to say about the units', (t) => {
  const analyze = findTool('systemd-analyze')
  if (!analyze) return skipped(t, 'systemd-analyze is not installed')
  const folder = temporaryFolder(t)
  const units = readdirSync(UNITS).filter((name) => name.endsWith('.service'))
  t.true(units.length >= 2)
  for (const unit of units) {
    const text = readFileSync(join(UNITS, unit), 'utf8')
    // Only the program is not there yet on a machine without the package.
    writeFileSync(join(folder, unit), text.replaceAll('/usr/lib/holdfast/bin/node', '/bin/true'))
  }
  // It exits 0 on an unknown key: any output is a failure.
  const { stdout, stderr, status } = spawnSync(analyze, ['verify', ...units.map((unit) => join(folder, unit))], {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_COLORS: '0' },
  })
  t.is(`${stdout}${stderr}`, '')
  t.is(status, 0)
})

test('the account and the directories can be made on an empty machine', (t) => {
  const sysusers = findTool('systemd-sysusers')
  const tmpfiles = findTool('systemd-tmpfiles')
  if (!sysusers || !tmpfiles) return skipped(t, 'systemd is not installed')
  if (process.getuid?.() !== 0) return skipped(t, 'not root')
  const root = temporaryFolder(t)
  mkdirSync(join(root, 'etc'))
  for (const kind of ['sysusers.d', 'tmpfiles.d'])
    cpSync(join(UNITS, kind), join(root, 'usr', 'lib', kind), { recursive: true })
  execFileSync(sysusers, [`--root=${root}`, 'holdfast.conf'])
  t.regex(readFileSync(join(root, 'etc', 'passwd'), 'utf8'), /^holdfast:/m)
  const { stderr } = spawnSync(tmpfiles, [`--root=${root}`, '--create', 'holdfast.conf'], { encoding: 'utf8' })
  t.is(stderr, '')
  t.deepEqual(readdirSync(join(root, 'etc')).includes('holdfast'), true)
})
