import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AGENT, CONTROL_PLANE } from '../deploy/node-flags.ts'
import { lacksTool, testUnless } from '../test/harness/system-packages.ts'

const UNITS = import.meta.dirname

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-systemd-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

const needsRoot = process.getuid?.() === 0 ? undefined : 'not root'
const testUnits = testUnless(lacksTool('systemd-analyze'))
const testInstallation = testUnless(lacksTool('systemd-sysusers', 'systemd-tmpfiles') ?? needsRoot)

testUnits('systemd-analyze has nothing to say about the units', (t) => {
  const folder = temporaryFolder(t)
  const units = readdirSync(UNITS).filter((name) => name.endsWith('.service'))
  t.true(units.length >= 2)
  for (const unit of units) {
    const text = readFileSync(join(UNITS, unit), 'utf8')
    // Only the program is not there yet on a machine without the package.
    writeFileSync(join(folder, unit), text.replaceAll('/usr/lib/holdfast/bin/node', '/bin/true'))
  }
  // It exits 0 on an unknown key: any output is a failure.
  const { stdout, stderr, status } = spawnSync(
    'systemd-analyze',
    ['verify', ...units.map((unit) => join(folder, unit))],
    {
      encoding: 'utf8',
      env: { ...process.env, SYSTEMD_COLORS: '0' },
    },
  )
  t.is(`${stdout}${stderr}`, '')
  t.is(status, 0)
})

testInstallation('the account and the directories can be made on an empty machine', (t) => {
  const root = temporaryFolder(t)
  mkdirSync(join(root, 'etc'))
  for (const kind of ['sysusers.d', 'tmpfiles.d'])
    cpSync(join(UNITS, kind), join(root, 'usr', 'lib', kind), { recursive: true })
  execFileSync('systemd-sysusers', [`--root=${root}`, 'holdfast.conf'])
  t.regex(readFileSync(join(root, 'etc', 'passwd'), 'utf8'), /^holdfast:/m)
  const { stderr } = spawnSync('systemd-tmpfiles', [`--root=${root}`, '--create', 'holdfast.conf'], {
    encoding: 'utf8',
  })
  t.is(stderr, '')
  t.deepEqual(readdirSync(join(root, 'etc')).includes('holdfast'), true)
})

test('the units run our programs as npm start does', (t) => {
  const programs = { 'holdfast-agent.service': AGENT, 'holdfast-control-plane.service': CONTROL_PLANE }
  for (const [unit, { flags, environment }] of Object.entries(programs)) {
    const text = readFileSync(join(UNITS, unit), 'utf8')
    const started = [...text.matchAll(/^ExecStart(?:Pre)?=-?(.*)$/gm)].map(([, line]) => line)
    t.true(started.length > 0)
    for (const line of started)
      t.true(line?.startsWith(`/usr/lib/holdfast/bin/node ${flags.join(' ')} /usr/lib/holdfast/`), line)
    for (const [name, value] of Object.entries(environment))
      t.regex(text, new RegExp(`^Environment=.*\\b${name}=${value}\\b`, 'm'))
  }
})
