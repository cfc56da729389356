#!/usr/bin/env bash
# Deploys Graph Relay, or updates a deployment; you can run it again at any time. See docs/setup.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
infra/deploy.sh --resource-group NAME [options]

  --profile cheap|middle|gateway|dedicated
                            who may call the app, and its plan; docs/setup.md compares the profiles (default: the one
                            in infra/parameters.json, else the deployed one, else cheap)
  --location REGION         region of a new resource group (default: westeurope)
  --parameters FILE         a file like infra/parameters.example.json (default: infra/parameters.json)
  --subscriptions FILE      the declared subscriptions (default: subscriptions.json)
  --tls-certificate FILE    PFX or PEM for the gateway: in the first run, and after each renewal
  --rolling-update          replace instances one after the other (an Azure preview), not all at once; give it with
                            each run
  --known-holders           confirm that you know every other owner of the app registration, and everybody with its
                            certificate
  --what-if                 show what would change in Azure, and change nothing
  --code-only               build and deploy the code, and verify; change no resource and no setting
  --verify                  check the deployment and print a table of results; change nothing
  --settings-file FILE      write the settings of the deployment, including secrets, for python -m ops; change nothing
  --package-only            only build dist/graph-relay.zip
  --destroy                 delete the resource group and the app registration, after asking

For azure.yaml (azd deploys the resources and the code):
  --prepare FILE            steps before the resources; write their parameters to FILE
  --connect                 steps after the resources: secrets, Entra ID, Key Vault references
  --remember FILE           write to FILE what --forget has to delete
  --forget FILE             after the group is deleted: delete the app registration and the role definition

In the environment: DESTINATION_SECRET sets the secret that signs deliveries (otherwise the first run creates one),
DEPLOY_PACKAGE sets another path for the zip.
TEXT
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
resource_group="" profile="" location=westeurope mode=deploy tls_certificate="" settings_file="" update_strategy=""
known_holders=""
parameters="$here/parameters.json"
subscriptions="$root/subscriptions.json"
package="${DEPLOY_PACKAGE:-$root/dist/graph-relay.zip}"

microsoft_graph=00000003-0000-0000-c000-000000000000
application_tag=graphRelayClientId
credential_name=graph-relay-identity

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
fail() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }

read_arguments() {
  while (($#)); do
    case "$1" in
      --resource-group) resource_group="${2:?}"; shift ;;
      --profile) profile="${2:?}"; shift ;;
      --location) location="${2:?}"; shift ;;
      --parameters) parameters="${2:?}"; shift ;;
      --subscriptions) subscriptions="${2:?}"; shift ;;
      --tls-certificate) tls_certificate="${2:?}"; shift ;;
      --rolling-update) update_strategy=RollingUpdate ;;
      --known-holders) known_holders=yes ;;
      --what-if) mode=what-if ;;
      --code-only) mode=code-only ;;
      --verify) mode=verify ;;
      --prepare) mode=prepare main_parameters="${2:?}"; shift ;;
      --connect) mode=connect ;;
      --remember) mode=remember memory="${2:?}"; shift ;;
      --forget) mode=forget memory="${2:?}"; shift ;;
      --settings-file) settings_file="${2:?}" mode=settings; shift ;;
      --package-only) mode="package-only" ;;
      --destroy) mode=destroy ;;
      --help) usage; exit ;;
      *) usage >&2; fail "unknown argument $1" ;;
    esac
    shift
  done
  [[ $profile =~ ^(cheap|middle|gateway|dedicated|)$ ]] ||
    fail "--profile: expected cheap, middle, gateway or dedicated"
  [[ $mode == package-only || -n $resource_group ]] || fail "--resource-group: missing"
}

check_inputs() {
  [[ -r $parameters ]] || fail "--parameters: no $parameters; copy infra/parameters.example.json"
  [[ -r $subscriptions ]] || fail "--subscriptions: no $subscriptions; copy subscriptions.json.example"
  read_permissions
  choose_profile
  write_parameters
  tenant="$(az account show --query tenantId --output tsv)"
  name_application
}

read_permissions() {
  local needed
  needed="$(python3 "$here/graph_permissions.py" "$subscriptions")"
  # Empty if every declaration relies on resource-specific consent.
  read -r -a permissions <<<"${needed//$'\n'/ }"
}

# A deployment keeps its profile until the command line or the file names another one.
choose_profile() {
  if [[ -z $profile ]]; then profile="$(parameter profile)"; fi
  if [[ -z $profile && "$(az group exists --name "$resource_group")" == true ]]; then
    profile="$(az resource list --resource-group "$resource_group" --output tsv \
      --resource-type Microsoft.Web/sites --query "[?tags.purpose=='relay-app'].tags.profile | [0] || ''")"
  fi
  profile="${profile:-cheap}"
}

# Checks the user's parameters; with the name of a file, writes all parameters of infra/main.bicep to it.
write_parameters() {
  python3 "$here/parameters.py" --file "$parameters" --subscriptions "$subscriptions" --profile "$profile" "$@" >&2
}

# The value of a parameter of the user's file, as text; empty if it is missing.
parameter() {
  python3 "$here/parameters.py" --file "$parameters" --print "$1"
}

build_package() {
  say "Building $package"
  python3 "$here/package.py" "$package"
}

# --- Entra ID

# For the app registration and the custom role: the tenant may hold several groups of one name.
name_application() {
  local subscription
  subscription="$(az account show --query id --output tsv)"
  mark="$resource_group, ${subscription:0:8}"
}

# The group's tag identifies the registration. A display name proves nothing: anybody can use it.
find_application() {
  app_id="$(az group show --name "$resource_group" --query "tags.$application_tag || ''" --output tsv)"
}

refuse_namesake() {
  local namesake
  # Without the mark: the name in version 0.1.
  namesake="$(az ad app list --display-name "Graph Relay ($resource_group" --output tsv \
    --query "[?displayName=='Graph Relay ($mark)' || displayName=='Graph Relay ($resource_group)'].appId | [0] || ''")"
  [[ -z $namesake ]] || fail "there is an app registration named Graph Relay ($resource_group…), $namesake, and the \
tags of the resource group do not name it. If it belongs to this deployment: az group update --name $resource_group \
--set tags.$application_tag=$namesake --force-string. Otherwise have it renamed or deleted. Then run infra/deploy.sh again"
}

# One tenant, unless a declaration names another.
sign_in_audience() {
  python3 - "$subscriptions" "$tenant" <<'PY'
import json, sys
tenants = {one.get("tenantId", "").lower() for one in json.load(open(sys.argv[1]))} - {"", sys.argv[2].lower()}
print("AzureADMultipleOrgs" if tenants else "AzureADMyOrg")
PY
}

make_application() {
  say "App registration"
  local audience accesses
  audience="$(sign_in_audience)"
  accesses="$(resource_accesses)"
  find_application
  if [[ -z $app_id ]]; then
    refuse_namesake
    app_id="$(az ad app create --display-name "Graph Relay ($mark)" --sign-in-audience "$audience" \
      --query appId --output tsv)"
    az group update --name "$resource_group" --set "tags.$application_tag=$app_id" --force-string --output none
  else
    refuse_stranger
  fi
  patiently az ad app update --id "$app_id" --sign-in-audience "$audience" --required-resource-accesses "$accesses"
}

# With write access to the group's tags, an attacker could name another app here, to obtain consent for it.
refuse_stranger() {
  local code=0 answer=""
  look_at_application || code=$?
  if ((code == 4)) && [[ -z $known_holders ]]; then
    read -r -p "They get the app's permissions, too. Do you know them all? Type yes: " answer || true
    [[ $answer == yes ]] || fail "nothing was done; --known-holders confirms in advance"
    code=0
  fi
  ((code == 0 || code == 4)) || fail "nothing was done"
}

look_at_application() {
  python3 "$here/registration.py" "$app_id" --name "Graph Relay ($mark)" --name "Graph Relay ($resource_group)" \
    --credential "$credential_name" "$@"
}

# The permissions in the form of the registration: the ids of Microsoft Graph's roles.
resource_accesses() {
  az ad sp show --id "$microsoft_graph" --query 'appRoles[].[value, id]' --output tsv |
    python3 -c '
import json, sys
ids = dict(line.split() for line in sys.stdin)
unknown = [name for name in sys.argv[2:] if name not in ids]
if unknown:
    sys.exit(f"Microsoft Graph knows no application permission {unknown[0]}")
roles = [{"id": ids[name], "type": "Role"} for name in sys.argv[2:]]
print(json.dumps([{"resourceAppId": sys.argv[1], "resourceAccess": roles}]))
' "$microsoft_graph" "${permissions[@]}"
}

grant_consent() {
  say "Consent to ${permissions[*]}"
  local code=0
  python3 "$here/consent.py" "$app_id" "${permissions[@]}" || code=$?
  # 3: the user may not consent; the program has printed who may. The deployment continues; the final table repeats it.
  ((code == 0 || code == 3)) || return "$code"
}

trust_identity() {
  say "Federated credential for the app's identity, instead of a client secret"
  local name="$credential_name" identity known credential
  identity="$(output identityPrincipalId)"
  credential="{\"name\": \"$name\", \"issuer\": \"https://login.microsoftonline.com/$tenant/v2.0\",
    \"subject\": \"$identity\", \"audiences\": [\"api://AzureADTokenExchange\"]}"
  known="$(az ad app federated-credential list --id "$app_id" --query "[?name=='$name'].id" --output tsv)"
  if [[ -z $known ]]; then
    patiently az ad app federated-credential create --id "$app_id" --parameters "$credential" --output none
  else
    az ad app federated-credential update --id "$app_id" --federated-credential-id "$name" --parameters "$credential"
  fi
}

# --- Azure

make_group() {
  say "Resource group $resource_group"
  if [[ "$(az group exists --name "$resource_group")" != true ]]; then
    # azd deletes only groups with the tag of its environment.
    az group create --name "$resource_group" --location "$location" --output none \
      --tags application=graph-relay ${AZURE_ENV_NAME:+"azd-env-name=$AZURE_ENV_NAME"}
  fi
  recover_vaults
}

# A vault outlives its group for 90 days, and keeps its name; its keys may still be needed.
recover_vaults() {
  local vault
  for vault in $(az keyvault list-deleted --resource-type vault --output tsv \
    --query "[?contains(properties.vaultId, '/resourceGroups/$resource_group/')].name"); do
    az keyvault recover --name "$vault" --resource-group "$resource_group" --output none
  done
}

bring_certificate() {
  say "Certificate of the gateway"
  local vault operator name
  operator="$(az ad signed-in-user show --query id --output tsv)"
  name="$(parameter name)"
  vault="$(az deployment group create --resource-group "$resource_group" --name certificate-vault \
    --template-file "$here/certificate-vault.bicep" --query properties.outputs.name.value --output tsv \
    --parameters name="${name:-graphrelay}" operatorId="$operator")"
  if [[ -n $tls_certificate ]]; then
    # A role takes minutes to become effective.
    patiently az keyvault certificate import --vault-name "$vault" --name gateway-tls --file "$tls_certificate" \
      --output none
  elif ! az keyvault certificate show --vault-name "$vault" --name gateway-tls --output none; then
    fail "--tls-certificate: missing; or make the certificate gateway-tls in the vault $vault, then run this again"
  fi
}

# Retries a command that needs a new object: Entra ID and Azure take minutes to make it available everywhere.
patiently() {
  local pause
  for pause in ${pauses:-5 10 20 30 60}; do
    "$@" && return
    printf 'New objects may not be available everywhere yet; retrying in %s s.\n' "$pause" >&2
    sleep "$pause"
  done
  "$@"
}

# The secrets are in the vault before the app starts. Users who may deploy can list the names of secrets and set new
# values, but not read any. An existing secret stays, unless another value is given.
make_secrets() {
  say "Secrets"
  local vault known
  vault="$(az resource list --resource-group "$resource_group" --resource-type Microsoft.KeyVault/vaults \
    --query "[?tags.purpose=='relay-keys'].id" --output tsv)"
  known="$(az rest --method get --url "$vault/secrets?api-version=2025-05-01" --query "value[].name" --output tsv)"
  if [[ $'\n'$known$'\n' != *$'\n'client-state-secret$'\n'* ]]; then
    openssl rand -base64 32 | put_secret "$vault" client-state-secret
  fi
  if [[ -n ${DESTINATION_SECRET:-} ]]; then
    printf '%s' "$DESTINATION_SECRET" | put_secret "$vault" destination-secret
  elif [[ $'\n'$known$'\n' != *$'\n'destination-secret$'\n'* ]]; then
    printf 'whsec_%s' "$(openssl rand -base64 32)" | put_secret "$vault" destination-secret
  fi
}

# From standard input, through a file that only its owner can read: other users can read command lines.
put_secret() {
  secure="$(mktemp)"
  trap 'rm -f "$secure"' EXIT
  python3 -c 'import json, sys; json.dump({"properties": {"value": sys.stdin.read().strip()}}, sys.stdout)' >"$secure"
  az rest --method put --url "$1/secrets/$2?api-version=2025-05-01" --body "@$secure" --output none
  rm -f "$secure"
}

# The redundancy of an existing account: a change requires a migration, so a deployment keeps it.
present_storage_sku() {
  az storage account list --resource-group "$resource_group" --output tsv \
    --query "[?tags.application=='graph-relay'].sku.name | [0] || ''"
}

# First day of the existing budget. Offers without Cost Management answer 400: then there is none.
present_budget_start() {
  az consumption budget list --resource-group "$resource_group" --query '[0].timePeriod.startDate' --output tsv ||
    printf '(No budgets here: if the deployment fails over it, set monthlyBudget to 0.)\n' >&2
}

# All parameters of infra/main.bicep. None is a secret.
write_main_parameters() {
  local budget_start storage_sku
  budget_start="$(present_budget_start)"
  storage_sku="$(present_storage_sku)"
  write_parameters --client-id "$app_id" --budget-start "$budget_start" --storage-sku "$storage_sku" --to "$1"
}

deploy_resources() {
  local file
  file="$(mktemp)"
  write_main_parameters "$file"
  if [[ $mode == what-if ]]; then
    az deployment group what-if --resource-group "$resource_group" --name graph-relay \
      --template-file "$here/main.bicep" --parameters "@$file"
  else
    say "Resources"
    az deployment group create --resource-group "$resource_group" --name graph-relay --output none \
      --template-file "$here/main.bicep" --parameters "@$file"
  fi
  rm -f "$file"
}

# Outputs of the newest deployment of infra/main.bicep: azd names each deployment differently.
output() {
  az deployment group list --resource-group "$resource_group" --output tsv \
    --query "sort_by([?properties.outputs.appName], &properties.timestamp)[-1].properties.outputs.$1.value"
}

await_references() {
  say "Key Vault references"
  python3 "$here/resolve.py" "$resource_group" "$(output appName)"
}

deploy_code() {
  say "Code"
  local app
  app="$(output appName)"
  if [[ -n $update_strategy ]]; then
    az functionapp update-strategy config set --resource-group "$resource_group" --name "$app" \
      --type "$update_strategy" --output none
  fi
  # Right after the app's creation, its deployment site may not answer yet. A failing build is not tried five times.
  pauses=30 patiently az functionapp deployment source config-zip --resource-group "$resource_group" --name "$app" \
    --src "$package" --build-remote true --output none
}

# Ends with an error if there is a fault.
verify() {
  say "Results"
  python3 "$here/verify.py" --resource-group "$resource_group" --app "$(output appName)" --client-id "$app_id" \
    --url "$(output notificationUrl)" --subscriptions "$subscriptions"
}

# --- Modes

deploy() {
  check_inputs
  build_package
  make_group
  make_application
  if [[ $profile == gateway ]]; then bring_certificate; fi
  deploy_resources
  connect
  deploy_code
  say "Notification URL for Graph: $(output notificationUrl)"
  if [[ $profile == gateway ]]; then say "Point the name $(parameter hostName) to $(output gatewayAddress)"; fi
  verify
}

# The steps around those of azd: before the resources, after them, after the code.
prepare() {
  check_inputs
  is_azd_subscription
  make_group
  make_application
  if [[ $profile == gateway ]]; then bring_certificate; fi
  write_main_parameters "$main_parameters"
}

# azd and az sign in separately, each with its own subscription.
is_azd_subscription() {
  local subscription
  subscription="$(az account show --query id --output tsv)"
  [[ -z ${AZURE_SUBSCRIPTION_ID:-} || $AZURE_SUBSCRIPTION_ID == "$subscription" ]] ||
    fail "azd deploys to the subscription $AZURE_SUBSCRIPTION_ID, az to $subscription: \
az account set --subscription $AZURE_SUBSCRIPTION_ID"
}

connect() {
  make_secrets
  trust_identity
  grant_consent
  await_references || say "Not resolved yet: see the table at the end for the next step"
}

# For the modes that skip the first steps.
resume() {
  [[ -r $subscriptions ]] || fail "--subscriptions: no $subscriptions"
  read_permissions
  tenant="$(az account show --query tenantId --output tsv)"
  name_application
  find_application
  [[ -n $app_id ]] || fail "the tags of $resource_group name no app registration: deploy with infra/deploy.sh first"
  refuse_stranger
}

what_if() {
  check_inputs
  [[ "$(az group exists --name "$resource_group")" == true ]] ||
    fail "there is no resource group $resource_group: everything would be created"
  find_application
  if [[ -z $app_id ]]; then refuse_namesake; fi
  app_id="${app_id:-00000000-0000-0000-0000-000000000000}"
  deploy_resources
}

# The app's settings, in the form of local.settings.json, for `python -m ops` on a workstation.
write_settings() {
  local app vault listed client_state destination
  app="$(output appName)"
  vault="$(az resource list --resource-group "$resource_group" --resource-type Microsoft.KeyVault/vaults \
    --query "[?tags.purpose=='relay-keys'].name" --output tsv)"
  listed="$(az functionapp config appsettings list --resource-group "$resource_group" --name "$app" --output json)"
  client_state="$(vault_secret "$vault" client-state-secret)"
  destination="$(vault_secret "$vault" destination-secret)"
  if [[ -e $settings_file ]]; then # whose secrets might be nowhere else
    install -m 600 "$settings_file" "$settings_file.copy"
    say "The previous content of $settings_file is now in $settings_file.copy."
  fi
  listed="$listed" client_state="$client_state" destination="$destination" python3 - "$settings_file" <<'PY'
import json, os, sys
values = {one["name"]: one["value"] or "" for one in json.loads(os.environ["listed"])}
values["CLIENT_STATE_SECRET"] = os.environ["client_state"]
values["DESTINATION_SECRET"] = os.environ["destination"]
values.setdefault("GRAPH_CLIENT_CERTIFICATE", "")
with os.fdopen(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
    os.fchmod(file.fileno(), 0o600)  # it may have been there before
    file.truncate()
    json.dump({"IsEncrypted": False, "Values": values}, file, indent=2)
PY
  say "$settings_file holds the secrets of the deployment: delete it afterwards.
GRAPH_CLIENT_CERTIFICATE in it is for the certificate that you sign in to Graph with (docs/setup.md, 6)."
}

vault_secret() {
  az keyvault secret show --vault-name "$1" --name "$2" --query value --output tsv
}

destroy() {
  local answer
  read -r -p "Delete $resource_group with all that is queued in it? Type its name: " answer
  [[ $answer == "$resource_group" ]] || fail "nothing was deleted"
  memory="$(mktemp)"
  remember # before the group takes it along
  az group delete --name "$resource_group" --yes
  forget
  say "Its key vaults can be recovered for 90 days; deploying again into $resource_group does so."
}

# Objects outside the group that must be deleted with it.
remember() {
  find_application
  name_application
  if [[ -n $app_id ]] && ! look_at_application --only-name; then
    say "The app registration $app_id will not be deleted"
    app_id=""
  fi
  role="$(az role definition list --resource-group "$resource_group" --custom-role-only true --output tsv \
    --query "[?starts_with(roleName, 'Graph Relay key keeper ($resource_group')].name")"
  printf '%s\n%s\n' "$app_id" "$role" >"$memory"
}

if_gone() {
  [[ "$(az group exists --name "$resource_group")" != true ]] ||
    fail "$resource_group still exists, so its app registration and role definition are kept"
}

forget() {
  { read -r app_id && read -r role; } <"$memory"
  # Deleting the group deletes the role's assignments, but not its definition.
  if [[ -n $role ]]; then
    az role definition delete --name "$role" --custom-role-only true --resource-group "$resource_group" ||
      say "The role definition $role was not deleted"
  fi
  if [[ -n $app_id ]]; then
    az ad app delete --id "$app_id" || say "The app registration was not deleted: az ad app delete --id $app_id"
  else
    say "The tags of the group named no app registration, so none was deleted."
  fi
  rm -f "$memory"
}

read_arguments "$@"
case "$mode" in
  deploy) deploy ;;
  what-if) what_if ;;
  code-only) resume; build_package; deploy_code; verify ;;
  verify) resume; verify ;;
  prepare) prepare ;;
  connect) resume; connect ;;
  remember) remember ;;
  forget) if_gone; forget ;;
  settings) write_settings ;;
  package-only) build_package ;;
  destroy) destroy ;;
esac
