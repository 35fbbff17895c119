#!/bin/sh
# Install Debian's chromium and its driver, for the tests of the report's page, where they are absent and may be installed.
# Never fails: without them those tests are skipped.
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium for the tests of the report's page"
    export DEBIAN_FRONTEND=noninteractive
    timeout 240 sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver' \
        >/dev/null 2>&1 && exit 0
fi
echo "no chromium, and it cannot be installed here: the tests of the report's page in a browser will be skipped"
