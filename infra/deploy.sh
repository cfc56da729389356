#!/usr/bin/env bash
# Deploys Graph Relay, or brings a deployment up to date: run it again as often as you like. See docs/setup.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
infra/deploy.sh --resource-group NAME [options]

  --profile cheap|gateway   without or with the Application Gateway in front (default: as it is, else cheap)
  --location REGION         for a resource group that does not exist yet (default: westeurope)
  --parameters FILE         as infra/parameters.example.json (default: infra/parameters.json)
  --subscriptions FILE      what to subscribe to (default: subscriptions.json)
  --tls-certificate FILE    PFX or PEM for the gateway, the first time and whenever it is renewed
  --what-if                 show what would change in Azure, and change nothing
  --settings-file FILE      write the settings of the deployment, secrets and all, for python -m ops, and change nothing
  --package-only            build dist/graph-relay.zip, and touch nothing else
  --destroy                 delete the resource group and the app registration, after asking

In the environment: DESTINATION_SECRET sets the secret that signs deliveries (otherwise one is made the first time),
DEPLOY_PACKAGE names another place for the zip.
TEXT
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
resource_group="" profile="" location=westeurope mode=deploy tls_certificate="" settings_file=""
parameters="$here/parameters.json"
subscriptions="$root/subscriptions.json"
package="${DEPLOY_PACKAGE:-$root/dist/graph-relay.zip}"

microsoft_graph=00000003-0000-0000-c000-000000000000
change_tracking=0bf30f3b-4a52-48df-9a82-234910c4a086
application_tag=graphRelayClientId

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
      --what-if) mode=what-if ;;
      --settings-file) settings_file="${2:?}" mode=settings; shift ;;
      --package-only) mode="package-only" ;;
      --destroy) mode=destroy ;;
      --help) usage; exit ;;
      *) usage >&2; fail "unknown argument $1" ;;
    esac
    shift
  done
  [[ $profile =~ ^(cheap|gateway|)$ ]] || fail "--profile: expected cheap or gateway"
  [[ $mode == package-only || -n $resource_group ]] || fail "--resource-group: missing"
}

check_inputs() {
  [[ -r $parameters ]] || fail "--parameters: no $parameters; copy infra/parameters.example.json"
  [[ -r $subscriptions ]] || fail "--subscriptions: no $subscriptions"
  local needed
  needed="$(python3 "$here/graph_permissions.py" "$subscriptions")"
  [[ -n $needed ]] || fail "--subscriptions: nothing is declared in $subscriptions"
  read -r -a permissions <<<"${needed//$'\n'/ }"
  choose_profile
  if [[ $profile == gateway && -z "$(parameter hostName)" ]]; then fail "hostName: the gateway needs one"; fi
  tenant="$(az account show --query tenantId --output tsv)"
  name_application
}

# A deployment keeps its profile until another is asked for.
choose_profile() {
  local exists gateway=""
  [[ -z $profile ]] || return 0
  exists="$(az group exists --name "$resource_group")"
  if [[ $exists == true ]]; then
    gateway="$(az resource list --resource-group "$resource_group" --query '[0].id' --output tsv \
      --resource-type Microsoft.Network/applicationGateways)"
  fi
  profile="${gateway:+gateway}"
  profile="${profile:-cheap}"
}

# The value of a parameter of the file, as text; nothing if it is not there.
parameter() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["parameters"].get(sys.argv[2], {}).get("value", ""))' \
    "$parameters" "$1"
}

build_package() {
  say "Building $package"
  python3 "$here/package.py" "$package"
}

# --- Entra ID

# Of the app registration and of our own role: the tenant may hold several groups of one name.
name_application() {
  local subscription
  subscription="$(az account show --query id --output tsv)"
  mark="$resource_group, ${subscription:0:8}"
}

# The registration is the one that the resource group names. A display name proves nothing: anybody may take it.
find_application() {
  app_id="$(az group show --name "$resource_group" --query "tags.$application_tag || ''" --output tsv)"
}

refuse_namesake() {
  local namesake
  # Without the mark: as version 0.1 called it.
  namesake="$(az ad app list --display-name "Graph Relay ($resource_group" --output tsv \
    --query "[?displayName=='Graph Relay ($mark)' || displayName=='Graph Relay ($resource_group)'].appId | [0] || ''")"
  [[ -z $namesake ]] || fail "there is an app registration named Graph Relay ($resource_group…), $namesake, and the \
resource group does not say that it is its own. If you know that it is: az group update --name $resource_group \
--set tags.$application_tag=$namesake --force-string. Otherwise have it renamed or deleted. Then run this again"
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
  fi
  az ad app update --id "$app_id" --sign-in-audience "$audience" --required-resource-accesses "$accesses"
  make_service_principal "$app_id"
  # Without this Graph cannot get tokens for the app, and rich notifications come without any (Graph contract 4).
  az ad sp update --id "$app_id" --set appRoleAssignmentRequired=false
  make_service_principal "$change_tracking" ||
    say "Not made: the service principal of Microsoft Graph Change Tracking, without which rich notifications prove
nothing and are refused. An Application Administrator runs: az ad sp create --id $change_tracking"
}

make_service_principal() {
  local known
  known="$(az ad sp list --filter "appId eq '$1'" --query '[0].id' --output tsv)" || return
  [[ -n $known ]] || az ad sp create --id "$1" --output none
}

# The permissions as the registration names them: by the ids that Microsoft Graph gives its roles.
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
  az ad app permission admin-consent --id "$app_id" ||
    say "Not granted. An administrator opens: https://login.microsoftonline.com/$tenant/adminconsent?client_id=$app_id"
}

trust_identity() {
  say "The app's identity in place of a client secret"
  local name=graph-relay-identity identity known credential
  identity="$(output identityPrincipalId)"
  credential="{\"name\": \"$name\", \"issuer\": \"https://login.microsoftonline.com/$tenant/v2.0\",
    \"subject\": \"$identity\", \"audiences\": [\"api://AzureADTokenExchange\"]}"
  known="$(az ad app federated-credential list --id "$app_id" --query "[?name=='$name'].id" --output tsv)"
  if [[ -z $known ]]; then
    az ad app federated-credential create --id "$app_id" --parameters "$credential" --output none
  else
    az ad app federated-credential update --id "$app_id" --federated-credential-id "$name" --parameters "$credential"
  fi
}

# --- Azure

make_group() {
  say "Resource group $resource_group"
  if [[ "$(az group exists --name "$resource_group")" != true ]]; then
    az group create --name "$resource_group" --location "$location" --tags application=graph-relay --output none
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
  local vault operator
  operator="$(az ad signed-in-user show --query id --output tsv)"
  vault="$(az deployment group create --resource-group "$resource_group" --name certificate-vault \
    --template-file "$here/certificate-vault.bicep" --query properties.outputs.name.value --output tsv \
    --parameters name="$(parameter name)" operatorId="$operator")"
  if [[ -n $tls_certificate ]]; then
    # A role that was only just assigned takes minutes to be believed.
    patiently az keyvault certificate import --vault-name "$vault" --name gateway-tls --file "$tls_certificate" \
      --output none
  elif ! az keyvault certificate show --vault-name "$vault" --name gateway-tls --output none; then
    fail "--tls-certificate: missing; or make the certificate gateway-tls in the vault $vault, then run this again"
  fi
}

patiently() {
  local attempt
  for attempt in 1 2 3 4 5 6; do
    "$@" && return
    sleep $((attempt * 10))
  done
  return 1
}

# Prints `value` if the vault has no secret of that name yet; else nothing, which keeps the one it has.
fresh_secret() {
  # `|| return`: bash does not stop for errors inside $(...), and a doubt must not replace a secret that is in use.
  local name="$1" value="$2" vault known=""
  vault="$(az resource list --resource-group "$resource_group" --resource-type Microsoft.KeyVault/vaults \
    --query "[?tags.purpose=='relay-keys'].id" --output tsv)" || return
  if [[ -n $vault ]]; then
    # Azure tells the names of secrets to those who may deploy, and not the values.
    known="$(az rest --method get --url "$vault/secrets?api-version=2024-11-01" --query "value[?name=='$name'].name" \
      --output tsv)" || return
  fi
  [[ -n $known ]] || printf '%s' "$value"
}

# How an account that exists is stored: to change that takes a migration, and no deployment does it by the way.
present_storage_sku() {
  az storage account list --resource-group "$resource_group" --output tsv \
    --query "[?tags.application=='graph-relay'].sku.name | [0] || ''"
}

# Parameters that are not in the user's file. A file and not the command line, which other users can read.
write_secure_parameters() {
  local client_state destination budget_start storage_sku
  client_state="$(fresh_secret client-state-secret "$(openssl rand -base64 32)")"
  destination="${DESTINATION_SECRET:-}"
  if [[ -z $destination ]]; then
    destination="$(fresh_secret destination-secret "whsec_$(openssl rand -base64 32)")"
  fi
  budget_start="$(az consumption budget list --resource-group "$resource_group" --query '[0].timePeriod.startDate' \
    --output tsv)"
  storage_sku="$(parameter storageSku)"
  storage_sku="${storage_sku:-$(present_storage_sku)}"
  client_state="$client_state" destination="$destination" budget_start="$budget_start" app_id="$app_id" \
    profile="$profile" storage_sku="$storage_sku" python3 - "$subscriptions" >"$1" <<'PY'
import json, os, sys
values = {
    "profile": os.environ["profile"],
    "clientId": os.environ["app_id"],
    "subscriptions": json.dumps(json.load(open(sys.argv[1])), separators=(",", ":")),
    "clientStateSecret": os.environ["client_state"],
    "destinationSecret": os.environ["destination"],
}
if os.environ["budget_start"]:
    values["budgetStart"] = os.environ["budget_start"][:10]
if os.environ["storage_sku"]:
    values["storageSku"] = os.environ["storage_sku"]
print(json.dumps({
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {name: {"value": value} for name, value in values.items()},
}))
PY
}

deploy_resources() {
  secure="$(mktemp)" # readable by its owner alone
  trap 'rm -f "$secure"' EXIT
  write_secure_parameters "$secure"
  if [[ $mode == what-if ]]; then
    az deployment group what-if --resource-group "$resource_group" --name graph-relay \
      --template-file "$here/main.bicep" --parameters "@$parameters" --parameters "@$secure"
  else
    say "Resources"
    az deployment group create --resource-group "$resource_group" --name graph-relay --output none \
      --template-file "$here/main.bicep" --parameters "@$parameters" --parameters "@$secure"
  fi
}

output() {
  az deployment group show --resource-group "$resource_group" --name graph-relay \
    --query "properties.outputs.$1.value" --output tsv
}

deploy_code() {
  say "Code"
  local app
  app="$(output appName)"
  az functionapp deployment source config-zip --resource-group "$resource_group" --name "$app" \
    --src "$package" --build-remote true --output none
}

# --- What can be asked for

deploy() {
  check_inputs
  build_package
  make_group
  make_application
  if [[ $profile == gateway ]]; then bring_certificate; fi
  deploy_resources
  trust_identity
  grant_consent
  deploy_code
  say "Graph is to post to $(output notificationUrl)"
  if [[ $profile == gateway ]]; then say "Point the name $(parameter hostName) to $(output gatewayAddress)"; fi
}

what_if() {
  check_inputs
  [[ "$(az group exists --name "$resource_group")" == true ]] ||
    fail "there is no resource group $resource_group: everything would be made anew"
  find_application
  if [[ -z $app_id ]]; then refuse_namesake; fi
  app_id="${app_id:-00000000-0000-0000-0000-000000000000}"
  deploy_resources
}

# Everything the app is told, in the form of local.settings.json, for `python -m ops` on a desk.
write_settings() {
  local app vault listed client_state destination
  app="$(output appName)"
  vault="$(az resource list --resource-group "$resource_group" --resource-type Microsoft.KeyVault/vaults \
    --query "[?tags.purpose=='relay-keys'].name" --output tsv)"
  listed="$(az functionapp config appsettings list --resource-group "$resource_group" --name "$app" --output json)"
  client_state="$(vault_secret "$vault" client-state-secret)"
  destination="$(vault_secret "$vault" destination-secret)"
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
  local answer role
  read -r -p "Delete $resource_group with all that is queued in it? Type its name: " answer
  [[ $answer == "$resource_group" ]] || fail "nothing was deleted"
  role="$(az role definition list --resource-group "$resource_group" --custom-role-only true --output tsv \
    --query "[?starts_with(roleName, 'Graph Relay key keeper ($resource_group')].name")"
  find_application # before the group takes the tag with it
  az group delete --name "$resource_group" --yes
  # The group takes the role's assignments with it, and leaves its definition.
  if [[ -n $role ]]; then
    az role definition delete --name "$role" --custom-role-only true --resource-group "$resource_group" ||
      say "The role definition $role is left over"
  fi
  if [[ -n $app_id ]]; then
    az ad app delete --id "$app_id" || say "The app registration is left over: az ad app delete --id $app_id"
  else
    say "The group named no app registration, so none was deleted."
  fi
  say "Its key vaults can be recovered for 90 days; deploying again into $resource_group does so."
}

read_arguments "$@"
case "$mode" in
  deploy) deploy ;;
  what-if) what_if ;;
  settings) write_settings ;;
  package-only) build_package ;;
  destroy) destroy ;;
esac
