#!/bin/sh
# Passes its arguments to the runner, and prints the answer. It uses only shell built-ins, and sleep,
# which the start of the container also needs.
calls=@CALLS@
pipe=@CALL@

number=0
while [ -e "$calls/$$-$number" ] || [ -e "$calls/$$-$number.answer" ]; do
  number=$((number + 1))
done
call=$$-$number

# No argument holds a NUL.
if ! printf '%s\0' "${PEER_NAME-}" "${PEER_CWD-$PWD}" "$@" >"$calls/$call"; then
  echo "Error: there is no space for the request in $calls: delete the files that you have put there." >&2
  exit 1
fi
echo "$call" >"$pipe"
until [ -e "$calls/$call.answer" ]; do sleep 0.1; done

show() {
  while IFS= read -r line; do printf '%s\n' "$line"; done
}
{
  read -r code
  if [ "$code" = 0 ]; then show; else show >&2; fi
} <"$calls/$call.answer"
echo "-$call" >"$pipe"
exit "$code"
