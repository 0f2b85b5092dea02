import test from 'ava'
import { inOwnService } from './own-service.ts'

test('a daemon is a service of its own where systemd runs, and started as it is elsewhere', (t) => {
  const command = ['/usr/bin/lxc-start', '-n', 'a', '-d'] as const
  t.deepEqual(
    inOwnService([...command], () => false),
    [...command],
  )
  const [file, ...args] = inOwnService([...command], () => true)
  t.is(file, '/usr/bin/systemd-run')
  t.deepEqual(args.slice(args.indexOf('--') + 1), [...command])
})
