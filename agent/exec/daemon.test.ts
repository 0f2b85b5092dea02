import test from 'ava'
import { commandOf } from './daemon.ts'

test('a daemon dies with us, or is a service of its own where systemd runs, or goes on as it is', (t) => {
  const daemon = ['/usr/sbin/tgtd', '-f'] as const
  const program = {
    description: 'targets',
    file: daemon[0],
    args: [daemon[1]],
    directory: '/var/lib/holdfast-agent/tgtd',
    environment: { A: 'b' },
    outlives: true,
  }
  t.deepEqual(commandOf({ ...program, outlives: false }), [
    '/usr/bin/setpriv',
    ['--pdeathsig', 'KILL', '--', ...daemon],
  ])
  t.deepEqual(
    commandOf(program, () => false),
    [daemon[0], [daemon[1]]],
  )
  const [file, args] = commandOf(program, () => true)
  t.is(file, '/usr/bin/systemd-run')
  t.deepEqual(args.slice(args.indexOf('--') + 1), [...daemon])
  t.true(args.includes('--setenv=A=b'))
  t.true(
    args.includes('--property=KillSignal=SIGKILL'),
    'tgtd does not hear SIGTERM, and a host that goes down waits for it',
  )
})
