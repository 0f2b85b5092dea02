import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { commandEnvironment } from './command-environment.ts'
import { writeKept } from './kept-json.ts'

function startedState(): string {
  const state = mkdtempSync(join(tmpdir(), 'holdfast-command-'))
  mkdirSync(join(state, 'postgres'))
  writeKept(join(state, 'postgres', 'passwords.json'), { superuser: 's', role: 'r' })
  writeKept(join(state, 'postgres', 'port.json'), { port: 5544 })
  return state
}

test('a command finds the database and the keys of npm start', (t) => {
  const state = startedState()
  t.teardown(() => rmSync(state, { recursive: true }))
  const { DATABASE_URL, HOLDFAST_SECRETS_KEY_FILE } = commandEnvironment({ HOLDFAST_STATE: state })
  t.is(DATABASE_URL, 'postgres://holdfast:r@127.0.0.1:5544/holdfast')
  t.is(HOLDFAST_SECRETS_KEY_FILE, join(state, 'secrets-key'))
})

test('what the environment names wins; the keys beside us are not for the database of another', (t) => {
  const state = startedState()
  t.teardown(() => rmSync(state, { recursive: true }))
  const elsewhere = { HOLDFAST_STATE: state, DATABASE_URL: 'postgres://elsewhere/holdfast' }
  t.deepEqual(commandEnvironment(elsewhere), elsewhere)
  const keys = { HOLDFAST_STATE: state, HOLDFAST_SECRETS_KEY: 'given' }
  t.is(commandEnvironment(keys).HOLDFAST_SECRETS_KEY_FILE, undefined)
})

test('where nothing was ever started nothing is added or made', (t) => {
  const none = { HOLDFAST_STATE: join(tmpdir(), 'holdfast-command-none') }
  t.deepEqual(commandEnvironment(none), none)
})
