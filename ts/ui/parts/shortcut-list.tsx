/** The keys that hold at the moment. */

import { shortcutGroups } from '../state/shortcuts'
import { Dialog } from './dialog'

export function ShortcutList({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <div class="keys">
        {[...shortcutGroups.value].map(([group, shortcuts]) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>
              {shortcuts.map(({ keys, does }) => (
                <div key={keys}>
                  <dt>
                    {keys.split(' ').map((key, index) => (
                      <>
                        {index > 0 && ' then '}
                        <kbd>{key}</kbd>
                      </>
                    ))}
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>In lists and trees</h3>
          <dl>
            <div>
              <dt>
                <kbd>↑</kbd> <kbd>↓</kbd> <kbd>Home</kbd> <kbd>End</kbd>
              </dt>
              <dd>From row to row</dd>
            </div>
            <div>
              <dt>
                <kbd>←</kbd> <kbd>→</kbd>
              </dt>
              <dd>Close and open, in a trace</dd>
            </div>
            <div>
              <dt>
                <kbd>Enter</kbd>
              </dt>
              <dd>Open; in an editor, run (SQL: with Ctrl)</dd>
            </div>
          </dl>
        </section>
      </div>
    </Dialog>
  )
}
